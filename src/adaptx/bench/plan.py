"""From what a user asks for to the measurements to make, in order. Reads the registry; measures nothing.

A suite is a YAML file of blocks; flags stand for one block, or change every block of a suite.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from adaptx import backbones, jobs
from adaptx.bench.spec import COMPARED, Spec, What, grid, parse_label
from adaptx.config import Settings
from adaptx.data import sources
from adaptx.errors import AdaptxError, unknown_name
from adaptx.registry import Model, configs_folder, parse, read_yaml

FOLDER = "suites"
MISSING = ("AX011", "AX013", "AX014", "AX030", "AX033")  # what an optional block may lack


class Block(Model):
    """Measurements that belong together: the product of its lists, all methods of one setting next to each other.

    `shapes`: random weights and made-up text instead of the settings' backbone and data. `optional`: left out where
    its data or its backbone is missing.
    """

    title: str = ""
    what: What = "steps"
    methods: tuple[str, ...] = COMPARED
    tasks: tuple[str, ...] = ("udpos",)
    lang: str = "en"
    batch_tokens: tuple[int | None, ...] = (None,)
    precision: tuple[str, ...] = ("auto",)
    layouts: tuple[str, ...] = ("packed",)
    shapes: tuple[str, ...] = ()
    lengths: tuple[str, ...] = ("nli",)
    limit: int | None = 2000
    warm_up: int = 2
    steps: int = 10
    repeats: int = 3
    optional: bool = False
    adapters: tuple[int, ...] = (1,)  # serve
    target_score: float | None = None  # target
    epochs: float | None = None  # target, accuracy
    seeds: tuple[int, ...] = (0,)  # accuracy
    target_lang: str = "fi"  # accuracy


class Suite(Model):
    """Blocks, the most important ones first. `changes` are laid over every block."""

    title: str
    blocks: tuple[Block, ...]


def suite(name: str, settings: Settings) -> Suite:
    """A shipped suite, one of a registry folder, or a file. Raises AX070 for a name that is none, AX010."""
    overlay = settings.registry.overlay
    found = {p.stem: p for f in (configs_folder(), overlay) if f for p in sorted((f / FOLDER).glob("*.yaml"))}
    path = found.get(name) or (Path(name) if Path(name).suffix in (".yaml", ".yml") else None)
    if path is None:
        raise unknown_name("AX070", name, found)
    return parse(Suite, read_yaml(path), path.name)


def changed(blocks: Iterable[Block], **flags: Any) -> list[Block]:
    """Blocks with every given flag (not None) in place; new shapes only where a block has shapes."""
    given = {k: v for k, v in flags.items() if v is not None}
    out = []
    for block in blocks:
        mine = {k: v for k, v in given.items() if k != "shapes" or block.shapes}
        out.append(Block.model_validate({**block.model_dump(), **mine}))
    return out


def expand(blocks: Sequence[Block], settings: Settings) -> tuple[list[Spec], list[str]]:
    """All measurements, each once, and why optional blocks were left out.

    Raises AX001-AX004, AX014, AX070 for what is not optional.
    """
    specs: list[Spec] = []
    notes: list[str] = []
    for block in blocks:
        try:
            specs += _block(block, settings)
        except AdaptxError as error:
            if not (block.optional and error.code in MISSING):
                raise
            notes.append(f"{block.title or block.what}: left out, {error.given}: {error.why}")
    return list(dict.fromkeys(specs)), notes


def _block(block: Block, settings: Settings) -> list[Spec]:
    device = backbones.pick_device(settings.device)
    common: dict[str, Any] = {"what": block.what, "limit": block.limit, "lang": block.lang}
    if block.what == "steps":
        common |= {"warm_up": block.warm_up, "steps": block.steps}
    if block.what in ("target", "accuracy"):
        common |= {"epochs": block.epochs}
    if block.what == "target":
        common |= {"target_score": block.target_score}
    if block.what == "accuracy":
        common |= {"target_lang": block.target_lang}
    axes: dict[str, Iterable[Any]] = {
        "repetition": range(block.repeats) if block.what != "accuracy" else (0,),
        "seed": block.seeds if block.what == "accuracy" else (0,),
        "precision": [jobs.precision_for(p, device) for p in block.precision],
        "batch_tokens": block.batch_tokens,
    }
    if block.what == "serve":
        axes["adapters"] = block.adapters
    out: list[Spec] = []
    if block.shapes:
        for spec in grid(
            labels(block, settings),
            {**common, "task": "synthetic", "data": "shape", "backbone": ""},
            **axes,
            lengths=block.lengths,
            shape=block.shapes,
        ):
            out.append(spec.model_copy(update={"backbone": f"{spec.shape}-random"}))
        return out
    origins = [_origin(settings, task, block.lang) for task in block.tasks]
    for spec in grid(labels(block, settings), {**common, "backbone": "", "data": "local"}, **axes, task=block.tasks):
        out.append(spec.model_copy(update=origins[block.tasks.index(spec.task)]))
    return out


def labels(block: Block, settings: Settings) -> list[str]:
    """Method labels in every layout asked for. A method without a packed form is padded. Raises AX003, AX070."""
    out = []
    for layout in block.layouts:
        if layout not in ("packed", "padded"):
            raise AdaptxError("AX070", layout, "a layout is packed or padded.")
        for text in block.methods:
            fields = parse_label(text)
            packable = settings.registry.method(fields["method"]).packable
            padded = "layout" not in fields and (layout == "padded" or not packable)
            out.append(f"{text}+padded" if padded else text)
    return list(dict.fromkeys(out))


def _origin(settings: Settings, task: str, lang: str) -> dict[str, Any]:
    """Backbone and kind of data of a task. Raises AX001, AX002, AX014, AX030, AX033."""
    known = settings.registry.task(task)
    source = sources.pick(settings, known, lang)
    if not sources.available(settings, known, lang, "train"):
        raise AdaptxError("AX014", f"{lang}/{task}", "its training data is not there.")
    return {"backbone": backbones.locate(settings).name, "data": source.kind}
