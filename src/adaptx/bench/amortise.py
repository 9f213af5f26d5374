"""What adapters cost when they are shared: a language adapter over k tasks, one served backbone under n adapters.

Pure arithmetic on measured rates and sizes; the amounts of text are assumptions and are shown with every figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
LANGUAGE_TOKENS, TASK_TOKENS = 10_000_000, 1_000_000
TASKS, SERVED = (1, 2, 5, 10, 50), (1, 10, 100, 1000)


@dataclass(frozen=True)
class Shared:
    """Hours a task: a language adapter trained once and a task adapter each, against full fine-tuning each.

    `break_even`: how many tasks must share the language adapter until it is cheaper; None: never.
    """

    label: str
    language_hours: float
    task_hours: float
    full_hours: float

    def per_task(self, tasks: int) -> float:
        """Hours a task where `tasks` share the language adapter."""
        return self.language_hours / tasks + self.task_hours

    @property
    def break_even(self) -> float | None:
        """language / (full - task): from the first whole number above it on, sharing is cheaper."""
        saved = self.full_hours - self.task_hours
        return self.language_hours / saved if saved > 0 else None


@dataclass(frozen=True)
class Served:
    """Bytes on disk of n tasks: one backbone and n adapters, against n full models."""

    backbone: str
    method: str
    adapter_bytes: float
    full_bytes: float

    def adapters(self, n: int) -> float:
        """Bytes of one backbone with `n` adapters."""
        return self.full_bytes + n * self.adapter_bytes

    def models(self, n: int) -> float:
        """Bytes of `n` fully fine-tuned models."""
        return n * self.full_bytes


def hours(tokens: float, rate: float) -> float:
    """Hours of training on `tokens` at a rate in tokens/s."""
    return tokens / rate / 3600


def shared(rows: Sequence[Row]) -> list[Shared]:
    """For every adapter that was measured beside full fine-tuning and as a language adapter, on the same machine."""
    out = []
    for row in rows:
        full = _beside(rows, row, "full", row["task"])
        language = _beside(rows, row, row["label"], "mlm")
        if full and language and row["method"] != "full" and row["task"] != "mlm":
            rates = (language["tokens_per_s"], row["tokens_per_s"], full["tokens_per_s"])
            amounts = (LANGUAGE_TOKENS, TASK_TOKENS, TASK_TOKENS)
            out.append(Shared(row["label"], *(hours(n, r) for n, r in zip(amounts, rates, strict=True))))
    return out


def served(rows: Sequence[Row]) -> list[Served]:
    """For every adapter that was measured beside full fine-tuning."""
    out = []
    for row in rows:
        full = _beside(rows, row, "full", row["task"])
        if full and row["method"] not in ("full", "probe") and row["task"] != "mlm":
            out.append(Served(row["backbone"], row["method"], row["adapter_bytes"], full["adapter_bytes"]))
    return list(dict.fromkeys(out))


def _beside(rows: Sequence[Row], row: Row, label: str, task: str) -> Row | None:
    """The row of another method or task under the same setting."""
    same = ("machine", "backbone", "precision", "lengths")
    return next(
        (r for r in rows if r["label"] == label and r["task"] == task and all(r[k] == row[k] for k in same)), None
    )
