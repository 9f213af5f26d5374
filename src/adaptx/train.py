"""From a request to a finished adapter in the store: data, recipe, training, scores, manifest.

The one place where a run is resolved and executed; commands, evaluation and studies call `prepare` and `run`.
"""

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from adaptx import atomic, backbones, cards, methods, provenance, store
from adaptx.backbones import BackboneFiles
from adaptx.config import RunOptions, Settings
from adaptx.data import sources
from adaptx.data.examples import Dataset
from adaptx.errors import AdaptxError
from adaptx.manifest import FileEntry, Manifest, TensorEntry
from adaptx.recipe import BackboneRef, DataRef, Optimiser, Parent, Recipe
from adaptx.registry import MethodSpec, Task
from adaptx.stack import Stack, adapter_name
from adaptx.store import Stored

Report = Callable[[str, dict[str, Any]], None]


def silent(event: str, values: dict[str, Any]) -> None:
    """A reporter that says nothing."""


def planned_tokens(job: "Job") -> float:
    """A rough count of the tokens a run will train on, from characters (3.5 a token, Latin script), for estimates."""
    o = job.recipe.optimiser
    characters = sum(len(part) for e in job.data["train"].examples for part in _strings(e))
    tokens = (characters / 3.5 + 2 * len(job.data["train"].examples)) * o.epochs
    return min(tokens, (o.max_steps or tokens) * o.batch_tokens)


def _strings(example: Any) -> Iterator[str]:
    """All text in an example."""
    for name in example.__dataclass_fields__:
        value = getattr(example, name)
        if name in ("id", "label", "tags"):
            continue
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            yield from (v if isinstance(v, str) else v[0] for v in value)


@dataclass(frozen=True)
class Job:
    """A resolved run: its recipe, and what the recipe was resolved from."""

    settings: Settings
    recipe: Recipe
    task: Task
    method: MethodSpec
    files: BackboneFiles
    data: dict[sources.Split, Dataset]
    init_from: Stored | None = None
    stack: Stack = field(default_factory=Stack)

    @property
    def done(self) -> Stored | None:
        """The finished run of this recipe, if the store has it."""
        return store.get(self.settings.store, self.recipe)


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
    task_name: str,
    options: RunOptions,
    *,
    init_from: Stored | None = None,
    stack: Stack | None = None,
) -> Job:
    """Resolve a run completely; reads the data, touches neither the store nor the backbone's weights.

    Raises AX001-AX004, AX014 and what readers raise; AX051 for a task that is not trained.
    """
    stack = stack or Stack()
    settings.registry.check_language(lang)
    task = settings.registry.task(task_name)
    method = settings.registry.method(options.method)
    if task.kind == "retrieval":
        raise AdaptxError("AX051", task.id, "retrieval is read off an encoder, there is nothing to train.")
    files = backbones.locate(settings)
    source = sources.pick(settings, task, lang)
    splits: tuple[sources.Split, ...] = tuple(s for s in ("train", "dev", "test") if s in source.splits)
    if "train" not in splits:
        raise AdaptxError("AX014", f"{lang}/{task.id}", f"its {source.kind} source has no train split.")
    data = {s: loaded(settings, task.id, lang, s, options.limit if s == "train" else None) for s in splits}
    parents = [Parent(how="stack", ref=s.ref, run=s.manifest.run) for s in stack.adapters]
    if init_from is not None:
        parents.append(Parent(how="init_from", ref=init_from.ref, run=init_from.manifest.run))
    device = backbones.pick_device(settings.device)
    recipe = Recipe(
        role=task.roles[0],
        lang=lang,
        task=task.id,
        kind=task.kind,
        labels=task.labels,
        max_tokens=task.train.max_tokens,
        options=task.options,
        backbone=BackboneRef(
            name=files.name, id=files.id, revision=files.revision, weights_sha256=files.weights_sha256
        ),
        method=options.method,
        family=method.family,
        hyper={**method.hyper, **options.hyper},
        data=tuple(
            DataRef(split=s, source=t.source, id=t.id, revision=t.revision, licence=t.licence, rows=t.rows)
            for s in splits
            if s != "test"
            for t in data[s].tables
        ),
        data_options=sources.fingerprint(source, [s for s in splits if s != "test"]),
        optimiser=Optimiser(
            lr=options.lr or method.lr,
            epochs=options.epochs or task.train.epochs,
            max_steps=options.max_steps,
            batch_tokens=options.batch_tokens or task.train.batch_tokens,
            dropout=method.dropout,
            weight_decay=method.weight_decay,
            patience=task.train.patience,
        ),
        precision=precision_for(options.precision, device),
        seed=options.seed,
        limit=options.limit,
        parents=tuple(parents),
    )
    return Job(settings, recipe, task, method, files, data, init_from, stack)


def run(job: Job, report: Report = silent, checkpoint_seconds: float = 60.0) -> Stored:
    """The finished adapter of `job`: found in the store, or trained now (going on from a checkpoint if one is there).

    Raises AX024 where another process trains the same recipe.
    """
    found = job.done
    if found is not None:
        report("found", {"ref": found.ref})
        return found
    scratch = store.scratch(job.settings.store, job.recipe.run_id)
    with atomic.lock(scratch.with_suffix(".lock")) as mine:
        if not mine:
            raise AdaptxError("AX024", job.recipe.ref, "this recipe is being trained by another process.")
        stored = job.done or _train(job, scratch, report, checkpoint_seconds)
    remove_scratch(scratch)
    return stored


def remove_scratch(scratch: Path) -> None:
    """Forget a run's checkpoint and lock."""
    import shutil

    shutil.rmtree(scratch, ignore_errors=True)
    scratch.with_suffix(".lock").unlink(missing_ok=True)


def _train(job: Job, scratch: Path, report: Report, checkpoint_seconds: float) -> Stored:
    import torch

    from adaptx.data.tokenize import Text
    from adaptx.engine import loop
    from adaptx.engine.model import Model, summarise
    from adaptx.scores import score_all
    from adaptx.stack import assemble, packable
    from adaptx.tasks import kind_of

    clock = Clock()
    recipe, task, name = job.recipe, job.task, adapter_name(job.recipe.lang, job.recipe.task)
    device = backbones.pick_device(job.settings.device)
    with clock("load"):
        backbone = backbones.load(job.files)
        torch.manual_seed(recipe.seed)
        if job.method.family == "full":
            encoder = backbone.encoder("fp32", device, private=True)
        else:
            encoder = assemble(job.stack, backbone, job.settings.registry, recipe.precision, device)
        if job.init_from is None:
            methods.attach(encoder, job.method, recipe.hyper, name)
        else:
            methods.load(encoder, job.method, name, job.init_from.adapter)
            methods.activate(encoder, job.method, [*_names(job.stack), name])
        set_dropout(encoder, recipe.optimiser.dropout)
    kind = kind_of(task)
    text = Text.of(backbone, recipe.max_tokens)
    with clock("tokenise"):
        labels = kind.labels(task, job.data["train"].examples)
        features = {s: kind.features(d.examples, text, labels, task) for s, d in job.data.items()}
    if job.method.family == "full":
        methods.family(job.method).keep_rows(encoder, touched(features["train"].ids, text, device))
    methods.unfreeze(encoder, job.method, name)
    head = kind.head(backbone.hidden_size, labels, task).to(device)
    model = Model(
        encoder,
        head,
        backbone.first_position,
        torch.device(device),
        recipe.precision,
        job.method.packable and packable(job.stack, job.settings.registry),
    )
    budget = max(recipe.optimiser.batch_tokens, 2048)

    def scores(split: sources.Split) -> dict[str, float]:
        summary = summarise(model, features[split], kind.summary, budget)
        predictions = kind.decode(summary, features[split], job.data[split].examples, labels, task)
        return score_all(task, predictions, kind.references(job.data[split].examples))

    metric = task.metrics[0]
    o = recipe.optimiser
    report(
        "start",
        {
            "ref": recipe.ref,
            "examples": len(job.data["train"].examples),
            "tokens": features["train"].tokens,
            "trainable": count(methods.trainable(encoder)),
            "epochs": o.epochs,
            "precision": recipe.precision,
            "device": device,
        },
    )
    progress = loop.train(
        model,
        loop.Hooks(
            lambda epoch: kind.refresh(features["train"], text, recipe.seed, epoch),
            kind.loss,
            (lambda: selection(scores("dev"), metric)) if "dev" in features else None,
            lambda now, steps, rate: report(
                "step",
                {
                    "step": now.step,
                    "steps": steps,
                    "loss": now.losses[-1],
                    "tokens_per_s": rate,
                    "seconds_a_step": now.train_seconds / now.step,
                },
            ),
        ),
        loop.LoopOptions(
            o.epochs,
            o.batch_tokens,
            o.lr,
            recipe.seed,
            o.max_steps,
            o.warmup,
            o.weight_decay,
            o.clip,
            o.patience,
            checkpoint_seconds,
        ),
        scratch / "checkpoint",
    )
    with clock("evaluate"):
        held_out: tuple[sources.Split, ...] = ("dev", "test")
        metrics: dict[str, dict[str, float]] = {split: scores(split) for split in held_out if split in features}
    clock.seconds["train"] = progress.train_seconds
    clock.seconds["evaluate"] += progress.evaluate_seconds
    cost = {
        "seconds": {k: round(v, 2) for k, v in clock.seconds.items()},
        "steps": progress.step,
        "tokens": progress.tokens,
        "tokens_per_s": round(progress.tokens / max(progress.train_seconds, 1e-9), 1),
        "trainable_parameters": count(methods.trainable(encoder)),
        "head_parameters": count(dict(head.named_parameters())),
        "total_parameters": sum(v.numel() for v in backbone.state.values()),
        "peak_memory_bytes": peak_memory(device),
        "best_step": progress.best_step,
    }

    def fill(stage: Path) -> None:
        from safetensors.torch import save_file

        methods.save(encoder, job.method, name, stage / "adapter", recipe.backbone.id)
        save_file(
            {k: v.detach().float().cpu().contiguous() for k, v in head.state_dict().items()}, stage / "head.safetensors"
        )

    def describe(files: tuple[FileEntry, ...], tensors: tuple[TensorEntry, ...]) -> Manifest:
        return Manifest(
            run=recipe.run_id,
            ref=recipe.ref,
            recipe=recipe,
            labels=labels,
            files=files,
            tensors=tensors,
            versions=provenance.versions(),
            hardware=provenance.hardware(device),
            cost=cost,
            metrics=metrics,
            notes=tuple(sorted({d.note for d in job.data.values() if d.note})),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    stored = store.write(job.settings.store, recipe, fill, describe, cards.render)
    report("done", {"ref": stored.ref, "metrics": metrics, "cost": cost})
    return stored


def _names(stack: Stack) -> list[str]:
    return [f"{adapter_name(s.recipe.lang, s.recipe.task)}_{i}" for i, s in enumerate(stack.adapters)]


def touched(ids: Any, text: Any, device: str) -> Any:
    """Embedding rows that training may change: tokens of the training data and all special tokens."""
    import numpy as np
    import torch

    return torch.from_numpy(np.union1d(ids, list(text.special.values())).astype(np.int64)).to(device)


def set_dropout(encoder: Any, p: float) -> None:
    """The probability of every dropout module inside the encoder."""
    import torch

    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = p


def selection(scores: dict[str, float], metric: str) -> float:
    """The score that selects checkpoints, oriented so that higher is better."""
    from adaptx.metrics import METRICS

    value = scores[METRICS[metric].name]
    return value if METRICS[metric].higher_is_better else -value


def count(parameters: dict[str, Any]) -> int:
    """Number of weights."""
    return sum(p.numel() for p in parameters.values())


def peak_memory(device: str) -> int:
    """Peak bytes: allocated on a GPU, resident set of this process on a CPU."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Clock:
    """Wall seconds by phase: `with clock("load"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._phase, self._began = "", 0.0

    def __call__(self, phase: str) -> "Clock":
        self._phase = phase
        return self

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + time.monotonic() - self._began
