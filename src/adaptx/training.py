"""Executes a resolved run: features, training, scores, and a finished adapter in the store with its manifest."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptx import atomic, backbones, cards, methods, provenance, store
from adaptx.errors import AdaptxError
from adaptx.jobs import Job, prepare
from adaptx.manifest import FileEntry, Manifest, TensorEntry
from adaptx.resident import resident
from adaptx.store import Stored

if TYPE_CHECKING:
    from adaptx.engine.loop import Progress
    from adaptx.engine.parallel import Ranks
    from adaptx.learner import Learner

__all__ = ["Job", "Report", "prepare", "run", "silent"]

Report = Callable[[str, dict[str, Any]], None]


def silent(event: str, values: dict[str, Any]) -> None:
    """A reporter that says nothing."""


def run(job: Job, report: Report = silent, checkpoint_seconds: float = 60.0) -> Stored:
    """The finished adapter of `job`: found in the store, or trained now (going on from a checkpoint if one is there).

    Started by torchrun, its processes train together, and the first one evaluates, reports and writes.

    Raises AX024 where another process trains the same recipe.
    """
    found, scratch = job.done, store.scratch(job.settings.store, job.recipe.run_id)
    if found is not None:
        _tidy(scratch)
        report("found", {"ref": found.ref})
        return found
    from adaptx.engine import parallel

    ranks = parallel.join(backbones.pick_device(job.settings.device))
    if not ranks.first:
        _fit(job, scratch, silent, checkpoint_seconds, ranks)
        ranks.wait()
        stored = job.done
        assert stored is not None, "the first process has just written it"
        return stored
    with atomic.lock(scratch.with_suffix(".lock")) as mine:
        if not mine:
            raise AdaptxError("AX024", job.recipe.ref, "this recipe is being trained by another process.")
        stored = job.done or _train(job, scratch, report, checkpoint_seconds, ranks)
        ranks.wait()
    remove_scratch(scratch)
    return stored


def _tidy(scratch: Path) -> None:
    """Remove what a process left behind that was killed between finishing a run and clearing up after it."""
    lock = scratch.with_suffix(".lock")
    if scratch.exists() or lock.exists():
        with atomic.lock(lock) as mine:
            if mine:
                remove_scratch(scratch)


def remove_scratch(scratch: Path) -> None:
    """Forget a run's checkpoint and lock."""
    import shutil

    shutil.rmtree(scratch, ignore_errors=True)
    scratch.with_suffix(".lock").unlink(missing_ok=True)


def _fit(
    job: Job, scratch: Path, report: Report, checkpoint_seconds: float, ranks: "Ranks"
) -> "tuple[Learner, Progress, dict[str, dict[str, float]], Clock]":
    """Build and train: the learner with its final weights, the progress, the baseline to beat, and seconds by phase."""
    from adaptx import learner as learners
    from adaptx.engine import loop

    clock = Clock()
    with clock("prepare"):
        learner = learners.build(job)
        learner.keep_lower_states(scratch / f"states-{ranks.rank}")
    o = job.recipe.optimiser
    report("start", _opening(job, learner))
    with clock("evaluate"):
        baseline = learner.baseline(lambda tokens: report("baseline", {"tokens": tokens})) if ranks.first else {}
    progress = loop.train(
        learner.model,
        loop.Hooks(
            learner.plan,
            learner.loss,
            learner.dev_score if learner.has_dev else None,
            partial(_step_report, report),
            learner.items,
            lambda pieces: report("split", {"pieces": pieces}),
        ),
        loop.LoopOptions(
            epochs=o.epochs,
            batch_tokens=o.batch_tokens,
            lr=o.lr,
            seed=job.recipe.seed,
            max_steps=o.max_steps,
            warmup=o.warmup,
            weight_decay=o.weight_decay,
            clip=o.clip,
            patience=o.patience,
            checkpoint_seconds=checkpoint_seconds,
            optimiser=o.name,
            average_last=o.average_last,
        ),
        scratch / "checkpoint",
        ranks,
    )
    return learner, progress, baseline, clock


def _train(job: Job, scratch: Path, report: Report, checkpoint_seconds: float, ranks: "Ranks") -> Stored:
    learner, progress, baseline, clock = _fit(job, scratch, report, checkpoint_seconds, ranks)
    model = learner.model
    with clock("evaluate"):
        metrics = learner.final_scores(progress.best)
    clock.seconds["train"] = progress.train_seconds
    clock.seconds["evaluate"] += progress.evaluate_seconds
    cost = {
        "seconds": {k: round(v, 2) for k, v in clock.seconds.items()},
        "steps": progress.step,
        "best_step": progress.best_step,
        "tokens": progress.tokens,
        "tokens_per_s": round(progress.tokens / max(progress.train_seconds, 1e-9), 1),
        "trainable_parameters": count(methods.trainable(model.encoder)),
        "head_parameters": count(dict(model.heads.named_parameters())),
        "total_parameters": count(dict(model.encoder.named_parameters())),
        "peak_memory_bytes": peak_memory(model.device.type),
    }
    if ranks.world > 1:
        cost["processes"] = ranks.world
    if model.lower is not None:
        kept = model.lower.held_bytes + model.lower.written_bytes
        cost |= {"constant_layers": model.lower.layers, "kept_bytes": kept}

    def fill(stage: Path) -> None:
        from safetensors.torch import save_file

        methods.save(model.encoder, job.method, learner.name, stage / "adapter", job.recipe.backbone.id)
        heads = {k: v.detach().float().cpu().contiguous() for k, v in model.heads.state_dict().items()}
        save_file(heads, stage / "head.safetensors")

    def describe(files: tuple[FileEntry, ...], tensors: tuple[TensorEntry, ...]) -> Manifest:
        return Manifest(
            run=job.recipe.run_id,
            ref=job.recipe.ref,
            recipe=job.recipe,
            labels={t: p.labels for t, p in learner.parts.items()},
            files=files,
            tensors=tensors,
            versions=provenance.versions(),
            hardware=provenance.hardware(model.device.type),
            cost=cost,
            metrics=metrics,
            baseline=baseline,
            notes=tuple(sorted({d.note for splits in job.data.values() for d in splits.values() if d.note})),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    stored = store.write(job.settings.store, job.recipe, fill, describe, cards.render)
    report("done", {"ref": stored.ref, "metrics": metrics, "baseline": baseline, "cost": cost})
    return stored


def _opening(job: Job, learner: "Learner") -> dict[str, Any]:
    """What a reporter is told when training starts."""
    return {
        "ref": job.recipe.ref,
        "examples": sum(len(splits["train"].examples) for splits in job.data.values()),
        "tokens": sum(p.features["train"].tokens for p in learner.parts.values()),
        "trainable": count(methods.trainable(learner.model.encoder)),
        "epochs": job.recipe.optimiser.epochs,
        "precision": job.recipe.precision,
        "device": str(learner.model.device),
        "constant_layers": learner.constant_layers,
        "layers": learner.model.encoder.config.num_hidden_layers,
    }


def _step_report(report: Report, now: "Progress", steps: int, rate: float) -> None:
    report(
        "step",
        {
            "step": now.step,
            "steps": steps,
            "loss": now.losses[-1],
            "tokens_per_s": rate,
            "seconds_a_step": now.train_seconds / now.step,
        },
    )


def count(parameters: dict[str, Any]) -> int:
    """Number of weights."""
    return sum(p.numel() for p in parameters.values())


def peak_memory(device: str) -> int:
    """Peak bytes: allocated on a GPU, resident set of this process on a CPU."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resident()[1]


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
