"""What a measurement trains on: a job cut to size, the batches of its steps, and how much of a step is tokenising.

Goes through the same doors as training: `jobs.prepare` and `learner.build`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptx import jobs
from adaptx.bench.spec import Spec
from adaptx.config import RunOptions, Settings
from adaptx.data.examples import Dataset
from adaptx.jobs import Job

if TYPE_CHECKING:
    from adaptx.engine.loop import Work

HELD_OUT, HELD_OUT_TEXTS = 200, 20  # dev examples that the evaluation phase is timed on; a text is hundreds of tokens


def options_of(spec: Spec) -> RunOptions:
    """The training options that a spec stands for."""
    return RunOptions(
        method=spec.method,
        seed=spec.seed,
        limit=spec.limit,
        epochs=spec.epochs,
        max_steps=spec.warm_up + spec.steps if spec.what == "steps" else None,
        batch_tokens=spec.batch_tokens,
        precision=spec.precision,
        optimiser=spec.optimiser,
        gradient_checkpointing=spec.checkpointing,
        compile=spec.compiled,
        adapter_layers=spec.adapter_layers,
    )


def job_of(settings: Settings, spec: Spec) -> Job:
    """The job of a spec with the training data and a few dev examples alone. Raises what `jobs.prepare` raises."""
    job = jobs.prepare(settings, spec.lang, spec.task, options_of(spec))
    return replace(job, data={t.id: _cut(job.data[t.id], t.kind) for t in job.tasks})


def _cut(splits: dict[Any, Dataset], kind: str) -> dict[Any, Dataset]:
    out = {"train": splits["train"]}
    if "dev" in splits:
        few = HELD_OUT_TEXTS if kind == "mlm" else HELD_OUT
        out["dev"] = replace(splits["dev"], examples=splits["dev"].examples[:few])
    return out


@dataclass(frozen=True)
class Batch:
    """The size of one step. `lengths`: tokens of each sequence; `examples`: distinct ones; `selected`: tokens read."""

    lengths: tuple[int, ...]
    examples: int
    selected: int

    @property
    def tokens(self) -> int:
        """Real tokens, padding excluded."""
        return sum(self.lengths)

    @property
    def padded(self) -> tuple[int, ...]:
        """The lengths that a padded forward pass computes on."""
        return (max(self.lengths),) * len(self.lengths)


def batch_of(work: "Work") -> Batch:
    """The size of a planned batch."""
    f, rows = work.features, work.rows
    return Batch(
        tuple(int(n) for n in f.offsets[rows + 1] - f.offsets[rows]),
        len(np.unique(f.example[rows])),
        int((f.select_offsets[rows + 1] - f.select_offsets[rows]).sum()),
    )


def describe(batches: Sequence[Batch]) -> dict[str, Any]:
    """What the steps were made of."""
    lengths = [n for b in batches for n in b.lengths]
    return {
        "sequences": len(lengths),
        "tokens": sum(lengths),
        "padded_tokens": sum(sum(b.padded) for b in batches),
        "examples": sum(b.examples for b in batches),
        "mean_length": sum(lengths) / len(lengths),
        "longest": max(lengths),
    }


class TimedTokenizer:
    """A tokenizer that adds up the time spent in it; everything else is the inner one's."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.seconds = inner, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, *arguments: Any, **named: Any) -> Any:
        """The tokenizer's own `encode`, timed."""
        return self._timed(self.inner.encode, arguments, named)

    def encode_batch(self, *arguments: Any, **named: Any) -> Any:
        """The tokenizer's own `encode_batch`, timed."""
        return self._timed(self.inner.encode_batch, arguments, named)

    def _timed(self, call: Any, arguments: Any, named: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            self.seconds += time.perf_counter() - began
