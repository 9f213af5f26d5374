"""What the functions of the Python interface take: places and training options, and how they become settings.

What is not passed comes from the command line's environment twins (`ADAPTX_STORE`, `ADAPTX_SEED`, ...), so that both
find the same run under the same circumstances.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from adaptx import config
from adaptx.config import RunOptions, Settings
from adaptx.errors import AdaptxError
from adaptx.recipe import OptimiserName, PrecisionChoice

if TYPE_CHECKING:
    from adaptx.training import Report

PATHS = ("store", "data_root", "cache", "registry")
# Training options that the environment can set, as the command line lets it, and how their text is read.
TWINS: dict[str, type] = {
    **dict.fromkeys(("seed", "limit", "max_steps", "batch_tokens"), int),
    **dict.fromkeys(("epochs", "lr"), float),
    **dict.fromkeys(("precision", "optimiser"), str),
    **dict.fromkeys(("gradient_checkpointing", "compile"), bool),
}
YES, NO = ("1", "true", "t", "yes", "y", "on"), ("0", "false", "f", "no", "n", "off")
DEFAULT_METHOD = "pfeiffer"


class Places(TypedDict, total=False):
    """Where things are and what runs them; what is left out comes from the environment (`ADAPTX_STORE`, ...)."""

    profile: str
    store: Path | str
    data_root: Path | str
    cache: Path | str
    registry: Path | str
    backbone: str
    device: str


class Training(TypedDict, total=False):
    """Options of a training run; what is left out comes from the environment (`ADAPTX_SEED`, ...), else it is the
    task's or the method's default."""

    seed: int
    limit: int
    epochs: float
    max_steps: int
    batch_tokens: int
    lr: float
    precision: PrecisionChoice
    hyper: dict[str, object]
    temperature: float
    average_last: int
    optimiser: OptimiserName
    gradient_checkpointing: bool
    compile: bool
    adapter_layers: str
    no_last_layer: bool


class Options(Places, Training, total=False):
    """Both: what a function takes that trains."""


def settings(**places: Unpack[Places]) -> Settings:
    """What a call with these places would use: profile, backbone, data root, store, cache and registry.

    Raises AX010 for an unknown profile, AX011 and AX013 for folders that do not exist.
    """
    _check(places, Places.__annotations__)
    given: dict[str, Any] = {k: Path(str(v)) if k in PATHS and v is not None else v for k, v in places.items()}
    return config.resolve(**{"device": os.environ.get("ADAPTX_DEVICE") or "auto", **given})


def resolve(options: Options, method: str | None) -> tuple[Settings, RunOptions]:
    """Settings and training options. Raises `TypeError` for a name that is neither, and AX070 for values."""
    _check(options, (*Places.__annotations__, *Training.__annotations__))
    places: Any = {k: v for k, v in options.items() if k in Places.__annotations__}
    chosen: Any = {k: v for k, v in options.items() if k in Training.__annotations__}
    method = method or os.environ.get("ADAPTX_METHOD") or DEFAULT_METHOD
    return settings(**places), RunOptions(method=method, **{**_from_environment(), **chosen})


def _from_environment() -> dict[str, Any]:
    """Training options set around this process. Raises AX070 for text that is not of the option's type."""
    found: dict[str, Any] = {}
    for name, kind in TWINS.items():
        twin = f"ADAPTX_{name.upper()}"
        text = os.environ.get(twin)
        try:
            found |= {name: _bool(text) if kind is bool else kind(text)} if text else {}
        except ValueError:
            raise AdaptxError("AX070", f"{twin}={text}", f"expected {kind.__name__}.") from None
    return found


def _bool(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise ValueError
    return text.lower() in YES


def listed(names: Sequence[str] | str) -> list[str]:
    """Names one by one; a string is split at commas, as on the command line."""
    return [n.strip() for n in names.split(",") if n.strip()] if isinstance(names, str) else list(names)


def _check(given: Mapping[str, object], known: Iterable[str]) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
            raise TypeError(f"unexpected option {name!r}; {hint}")


@contextmanager
def progress_shown(shown: bool) -> "Iterator[Report]":
    """A reporter to stderr as the commands have it, or one that says nothing."""
    from adaptx import backbones
    from adaptx.training import silent

    backbones.quiet()
    warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, in a notebook without ipywidgets
    if not shown:
        yield silent
        return
    from adaptx.cli.screen import Reporter

    reporter = Reporter()
    try:
        yield reporter
    finally:
        reporter.close()
