"""Where things are and under which profile a command runs. Knows options and environment, not tasks or training."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from adaptx.errors import AdaptxError, unknown_name
from adaptx.recipe import OptimiserName, PrecisionChoice
from adaptx.registry import Profile, Registry

DEFAULT_STORE = Path("store")


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/adaptx`, or `~/.cache/adaptx`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaptx"


@dataclass(frozen=True)
class Settings:
    """Resolved places and choices of one command; every part of adaptx that touches the disk is given one."""

    registry: Registry
    profile: Profile
    store: Path
    cache: Path
    data_root: Path | None
    backbone: str
    device: str = "auto"

    @property
    def sources(self) -> tuple[str, ...]:
        """Kinds of data sources in the order they are tried."""
        if self.data_root is None:
            return self.profile.sources
        return ("local", *(s for s in self.profile.sources if s not in ("local", "sample")))

    def describe(self) -> str:
        """One line that every command prints first: profile, backbone and data."""
        data = {
            "local": "files under the data root",
            "hub": "the Hugging Face Hub",
            "sample": "the built-in sample corpus",
        }
        return (
            f"profile {self.profile.id} · backbone {self.backbone} · data from "
            f"{', then '.join(data[s] for s in self.sources)}"
        )


def resolve(
    *,
    profile: str | None = None,
    store: Path | None = None,
    cache: Path | None = None,
    data_root: Path | None = None,
    registry: Path | None = None,
    backbone: str | None = None,
    device: str = "auto",
) -> Settings:
    """Settings from explicit values, then the environment twins (ADAPTX_PROFILE, _STORE, _CACHE, _DATA, _REGISTRY,
    _BACKBONE), then defaults. Raises AX010 for an unknown profile, AX011/AX013 for missing folders."""

    def path(value: Path | None, name: str) -> Path | None:
        text = str(value) if value is not None else os.environ.get(name, "")
        return Path(text).expanduser() if text else None

    data_root, overlay = path(data_root, "ADAPTX_DATA"), path(registry, "ADAPTX_REGISTRY")
    store, cache = path(store, "ADAPTX_STORE") or DEFAULT_STORE, path(cache, "ADAPTX_CACHE") or default_cache()
    if data_root is not None and not data_root.is_dir():
        raise AdaptxError("AX013", data_root, "this folder does not exist.")
    for value, option in ((store, "--store"), (cache, "--cache")):
        if value.exists() and not value.is_dir():
            raise AdaptxError("AX070", value, f"{option} names a file; it must be a folder.")
    if overlay is not None and not overlay.is_dir():
        raise AdaptxError("AX011", overlay, "the registry overlay is not a folder.")
    known = Registry(overlay)
    name = profile or os.environ.get("ADAPTX_PROFILE") or "local"
    profiles = known.profiles()
    if name not in profiles:
        raise unknown_name("AX010", f"profile {name}", profiles)
    chosen = profiles[name]
    return Settings(
        known,
        chosen,
        store=store,
        cache=cache,
        data_root=data_root,
        backbone=backbone or os.environ.get("ADAPTX_BACKBONE") or chosen.backbone,
        device=device,
    )


@dataclass(frozen=True)
class RunOptions:
    """What a user may change about a training run; None means the task's or method's default."""

    method: str = "pfeiffer"
    seed: int = 0
    limit: int | None = None
    epochs: float | None = None
    max_steps: int | None = None
    batch_tokens: int | None = None
    lr: float | None = None
    precision: str = "auto"
    hyper: dict[str, object] = field(default_factory=dict)
    temperature: float = 1.0  # of the mixture when several tasks share an adapter; 0: every task alike
    optimiser: str = "adamw"  # or adamw8bit: moments in 8 bits
    gradient_checkpointing: bool = False  # saves memory, takes time, changes no result: not part of the recipe
    compile: bool = False  # torch.compile for what lies between matrix products
    average_last: int = 0  # epochs whose last weights are averaged (Schmidt et al. 2023); 0: the best epoch's weights
    adapter_layers: str | None = None  # only these have one: "6-11", counted from 0 at the bottom, or "upper"
    no_last_layer: bool = False  # MAD-X 2.0 (Pfeiffer et al. 2021, section 3.1): the last layer has no adapter

    def __post_init__(self) -> None:
        for name, low in (("limit", 1), ("max_steps", 1), ("batch_tokens", 16)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise AdaptxError("AX070", f"{name} = {value}", f"must be at least {low}.")
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise AdaptxError("AX070", f"temperature = {self.temperature}", "must be 0 (uniform) or above.")
        if self.average_last < 0:
            raise AdaptxError("AX070", f"average_last = {self.average_last}", "must be 0 or above.")
        if not 0 <= self.seed < 2**32:
            raise AdaptxError("AX070", f"seed = {self.seed}", "must be at least 0 and fit into 32 bits.")
        for name in ("epochs", "lr"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise AdaptxError("AX070", f"{name} = {value}", "must be above zero and finite.")
        if self.optimiser not in get_args(OptimiserName):
            raise unknown_name("AX070", self.optimiser, get_args(OptimiserName))
        if self.precision not in get_args(PrecisionChoice):
            raise AdaptxError("AX070", f"precision = {self.precision}", "must be auto, fp32, bf16 or int8.")
