"""From a request to a resolved run: task, method, backbone, data and the recipe that names them all.

Reads data; touches neither the store's content nor any weights. `training.run` executes what `prepare` gives.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from adaptx import backbones, store
from adaptx.backbones import BackboneFiles
from adaptx.config import RunOptions, Settings
from adaptx.data import sources
from adaptx.data.examples import Dataset
from adaptx.errors import AdaptxError
from adaptx.recipe import DataRef, Mixing, Optimiser, Parent, Recipe, TaskSpec
from adaptx.registry import MethodSpec, Task, TrainDefaults
from adaptx.stack import Stack, check_backbone, check_stackable
from adaptx.store import Stored


@dataclass(frozen=True)
class Job:
    """A resolved run: its recipe, and what the recipe was resolved from."""

    settings: Settings
    recipe: Recipe
    tasks: tuple[Task, ...]
    method: MethodSpec
    files: BackboneFiles
    data: dict[str, dict[sources.Split, Dataset]]  # by task id and split
    init_from: Stored | None = None
    stack: Stack = field(default_factory=Stack)
    fused: tuple[Stored, ...] = ()  # what a fusion attends to
    gradient_checkpointing: bool = False  # how it runs, not what it gives

    @property
    def done(self) -> Stored | None:
        """The finished run of this recipe, if the store has it."""
        return store.get(self.settings.store, self.recipe)


def planned_tokens(job: Job) -> float:
    """A rough count of the tokens a run will train on, from characters (3.5 a token, Latin script), for estimates."""
    o = job.recipe.optimiser
    examples = [e for splits in job.data.values() for e in splits["train"].examples]
    characters = sum(len(part) for e in examples for part in strings(e))
    tokens = (characters / 3.5 + 2 * len(examples)) * o.epochs
    return min(tokens, (o.max_steps or tokens) * o.batch_tokens)


def strings(example: Any) -> Iterator[str]:
    """All text in an example."""
    for name in example.__dataclass_fields__:
        value = getattr(example, name)
        if name in ("id", "label", "tags"):
            continue
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            yield from (v if isinstance(v, str) else v[0] for v in value)


def precision_for(wanted: str, device: str) -> str:
    """`wanted`, or for "auto" bf16 where the processor multiplies bf16 natively, else fp32."""
    if wanted != "auto":
        return wanted
    if device.startswith("cuda"):
        import torch

        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return "fp32"
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"


@lru_cache(maxsize=64)
def loaded(settings: Settings, task: str, lang: str, split: sources.Split, limit: int | None = None) -> Dataset:
    """`sources.load`, remembered: a study asks for the same English training data many times."""
    return sources.load(settings, settings.registry.task(task), lang, split, limit)


def prepare(
    settings: Settings,
    lang: str,
    task: str,
    options: RunOptions,
    *,
    init_from: Stored | None = None,
    stack: Stack | None = None,
    fused: tuple[Stored, ...] = (),
) -> Job:
    """Resolve a run completely; reads the data, touches neither the store nor the backbone's weights.

    `task`: one id, or several joined by "+" that share one adapter. Raises AX001-AX004, AX014 and what readers raise;
    AX051 for tasks that are not trained, or not together, and for a method that has nothing to put into 8 bits.
    """
    settings.registry.check_language(lang)
    tasks = tuple(settings.registry.task(t) for t in sorted(set(task.split("+"))))
    method = settings.registry.method(options.method)
    for t in tasks:
        if t.kind == "retrieval":
            raise AdaptxError("AX051", t.id, "retrieval is read off an encoder, there is nothing to train.")
    stack = stack or Stack()
    parents = [Parent(how="stack", ref=s.ref, run=s.manifest.run) for s in stack.adapters]
    if init_from is not None:
        if init_from.recipe.method != options.method:
            raise AdaptxError("AX051", init_from.ref, f"a {options.method} adapter cannot start from it.")
        parents.append(Parent(how="init_from", ref=init_from.ref, run=init_from.manifest.run))
    parents += [Parent(how="fuse", ref=s.ref, run=s.manifest.run) for s in fused]
    if options.precision == "int8" and (method.family == "full" or "quantise" in method.hyper):
        raise AdaptxError("AX051", f"{options.method} in int8", "it has no frozen weights in full precision.")
    if (method.family == "fusion") is not bool(fused):
        raise AdaptxError("AX051", options.method, "fusions, and nothing else, are trained by `adaptx fuse`.")
    files = backbones.locate(settings)
    check_stackable([*(s.recipe.method for s in stack.adapters), options.method], settings.registry)
    for stored in (*stack.adapters, *([init_from] if init_from else [])):
        check_backbone(stored, files)
        if stored.recipe.family != method.family:
            raise AdaptxError("AX051", f"{options.method} on {stored.ref}", "adapters of two families do not stack.")
    data = {t.id: _splits(settings, t, lang, options.limit) for t in tasks}
    recipe = Recipe(
        role=tasks[0].roles[0],
        lang=lang,
        task="+".join(t.id for t in tasks),
        tasks=tuple(
            TaskSpec(id=t.id, kind=t.kind, labels=t.labels, max_tokens=t.train.max_tokens, options=t.options)
            for t in tasks
        ),
        mixing=Mixing(temperature=options.temperature) if len(tasks) > 1 else None,
        backbone=files.reference,
        method=options.method,
        family=method.family,
        hyper={
            **method.hyper,
            **tasks[0].hyper.get(options.method, {}),
            **_layers(files, method, options),
            **options.hyper,
        },
        data=tuple(_data_refs(data)),
        data_options=_fingerprints(settings, tasks, lang, data),
        optimiser=_optimiser(method, [sources.pick(settings, t, lang).training(t) for t in tasks], options),
        precision=precision_for(options.precision, backbones.pick_device(settings.device)),
        compiled=options.compile,
        seed=options.seed,
        limit=options.limit,
        parents=tuple(parents),
    )
    return Job(settings, recipe, tasks, method, files, data, init_from, stack, fused, options.gradient_checkpointing)


def _splits(settings: Settings, task: Task, lang: str, limit: int | None) -> dict[sources.Split, Dataset]:
    source = sources.pick(settings, task, lang)
    if "train" not in source.splits:
        raise AdaptxError("AX014", f"{lang}/{task.id}", f"its {source.kind} source has no train split.")
    names: tuple[sources.Split, ...] = tuple(s for s in ("train", "dev", "test") if s in source.splits)
    return {s: loaded(settings, task.id, lang, s, limit if s == "train" else None) for s in names}


def _data_refs(data: dict[str, dict[sources.Split, Dataset]]) -> Iterator[DataRef]:
    """Train and dev tables: the test set does not change a run."""
    for task, splits in data.items():
        for split, dataset in splits.items():
            for t in dataset.tables if split != "test" else ():
                yield DataRef(
                    task=task,
                    split=split,
                    source=t.source,
                    id=t.id,
                    revision=t.revision,
                    licence=t.licence,
                    rows=t.rows,
                )


def _fingerprints(
    settings: Settings, tasks: tuple[Task, ...], lang: str, data: dict[str, dict[sources.Split, Dataset]]
) -> str:
    parts = [
        sources.fingerprint(sources.pick(settings, t, lang), [s for s in data[t.id] if s != "test"]) for t in tasks
    ]
    return "+".join(parts)


def _layers(files: BackboneFiles, method: MethodSpec, options: RunOptions) -> dict[str, Any]:
    """Hyper-parameters that leave layers without an adapter, in the words of the method's library."""
    if not options.no_last_layer and options.adapter_layers is None:
        return {}
    depth = int(backbones.read_config(files.folder / "config.json").num_hidden_layers)
    first, last = _first_and_last(options.adapter_layers, depth)
    adapted = range(first, min(last, depth - 2 if options.no_last_layer else last) + 1)
    if not adapted:
        raise AdaptxError("AX070", f"adapter_layers = {options.adapter_layers}", "no layer is left for an adapter.")
    if method.family == "bottleneck":
        return {"leave_out": [i for i in range(depth) if i not in adapted]}
    if method.family == "lora":
        return {"layers_to_transform": list(adapted), "layers_pattern": "layer"}
    raise AdaptxError("AX051", method.title, "has no layers to leave out.")


def _first_and_last(layers: str | None, depth: int) -> tuple[int, int]:
    """The layers of "6-11", "11" or "upper" (the upper half); all where None. Raises AX070."""
    if layers == "upper":
        return depth // 2, depth - 1
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", f"0-{depth - 1}" if layers is None else layers)
    if found:
        first, last = int(found[1]), int(found[2] or found[1])
        if first <= last < depth:
            return first, last
    raise AdaptxError("AX070", f"adapter_layers = {layers}", f"expected upper or FIRST-LAST, 0 to {depth - 1}.")


def _optimiser(method: MethodSpec, defaults: list[TrainDefaults], options: RunOptions) -> Optimiser:
    return Optimiser(
        name=options.optimiser,
        lr=options.lr or method.lr,
        epochs=options.epochs or max(d.epochs for d in defaults),
        max_steps=options.max_steps,
        batch_tokens=options.batch_tokens or max(d.batch_tokens for d in defaults),
        dropout=method.dropout,
        weight_decay=method.weight_decay,
        patience=None if options.average_last else defaults[0].patience,  # the last epochs must be known beforehand
        average_last=options.average_last,
    )
