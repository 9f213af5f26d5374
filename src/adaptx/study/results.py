"""The results table of a study: one row per cell and metric, as CSV and parquet. Computes no statistics."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptx import atomic
from adaptx.errors import AdaptxError
from adaptx.study import journal
from adaptx.study.plan import Cell, Plan, Step
from adaptx.study.work import Outcome, Unit

if TYPE_CHECKING:
    import pandas as pd

NAME = "results"
# What differs between two executions of the same study: everything else must be equal.
MEASURED = ("train_seconds", "intermediate_seconds", "target_seconds", "peak_memory_bytes", "created")
COLUMNS = (
    "language", "source", "task", "method", "variant", "seed", "target", "metric", "leading", "score", "low", "high",
    "n", "chance", "chance_metric", "status", "flags", "english_dev", "intermediate_run", "target_run", "stack",
    "train_seconds", "intermediate_seconds", "target_seconds", "train_tokens", "trainable_parameters",
    "peak_memory_bytes", "device", "created", "backbone", "backbone_sha256", "note", "data_notes", "metric_key",
    "score_file",
)  # fmt: skip


def needed(cell: Cell) -> list[Step]:
    """Every step behind a cell, each once."""
    seen: dict[Step, None] = {}

    def visit(step: Step) -> None:
        for parent in step.needs:
            visit(parent)
        seen[step] = None

    for step in cell.stack:
        visit(step)
    return list(seen)


def rows(plan: Plan, outcomes: Mapping[Unit, Outcome]) -> Iterator[dict[str, Any]]:
    """One row per finished or failed cell and metric; a failed cell has one row without a score."""
    for cell in plan.cells:
        if cell not in outcomes:
            continue
        outcome, steps = outcomes[cell], [s for s in needed(cell) if s in outcomes]
        done = {s: outcomes[s].values for s in steps}
        flags = [f"collapsed: {s.label}" for s in steps if done[s].get("collapsed")]
        flags += ["collapsed: at chance level on the target"] if outcome.values.get("collapsed") else []
        if outcome.failed:
            flags.append(f"failed: {outcome.values['error']['message']}")
        trained, middle = cell.trained, cell.intermediate
        base = {
            "language": plan.study.language,
            "source": cell.source,
            "task": cell.task,
            "method": cell.method,
            "variant": cell.variant,
            "seed": cell.seed,
            "target": cell.target,
            "n": outcome.values.get("n"),
            "chance": outcome.values.get("chance"),
            "chance_metric": outcome.values.get("chance_metric", ""),
            "status": "failed" if outcome.failed else "collapsed" if flags else "ok",
            "flags": "; ".join(flags),
            "english_dev": done.get(trained, {}).get("dev") if trained else None,
            "intermediate_run": done.get(middle, {}).get("run", "") if middle else "",
            "target_run": done.get(trained, {}).get("run", "") if trained else "",
            "stack": " + ".join(str(done.get(s, {}).get("ref", s.label)) for s in cell.stack) or NONE_STACK,
            "train_seconds": sum(float(v.get("seconds", 0.0)) for v in done.values()),
            "intermediate_seconds": float(done.get(middle, {}).get("seconds", 0.0)) if middle else 0.0,
            "target_seconds": float(done.get(trained, {}).get("seconds", 0.0)) if trained else 0.0,
            "train_tokens": sum(int(v.get("tokens", 0)) for v in done.values()),
            "trainable_parameters": max((int(v.get("trainable_parameters", 0)) for v in done.values()), default=0),
            "peak_memory_bytes": max((int(v.get("peak_memory_bytes", 0)) for v in done.values()), default=0),
            "device": next((str(v["device"]) for v in done.values() if v.get("device")), ""),
            "created": max((str(v["created"]) for v in done.values() if v.get("created")), default=""),
            "backbone": outcome.values.get("backbone", ""),
            "backbone_sha256": outcome.values.get("backbone_sha256", ""),
            "note": outcome.values.get("note", ""),
            "data_notes": " | ".join(sorted({n for v in done.values() for n in v.get("notes", ())})),
            "metric_key": outcome.values.get("metric_key", ""),
            "score_file": outcome.values.get("file", ""),
        }
        metrics: dict[str, float] = outcome.values.get("metrics", {})
        for i, (metric, score) in enumerate(metrics.items()):
            low, high = outcome.values["intervals"].get(metric, (None, None))
            yield {**base, "metric": metric, "leading": i == 0, "score": score, "low": low, "high": high}
        if not metrics:
            yield {**base, "metric": "", "leading": True, "score": None, "low": None, "high": None}


NONE_STACK = "the bare backbone"


def frame(plan: Plan, outcomes: Mapping[Unit, Outcome]) -> "pd.DataFrame":
    """The rows as a table with the columns of `COLUMNS`."""
    import pandas as pd

    table = pd.DataFrame(list(rows(plan, outcomes)), columns=list(COLUMNS))
    numbers = ("score", "low", "high", "n", "chance", "english_dev", "train_seconds")
    return table.astype(dict.fromkeys(numbers, "float64") | {"leading": "bool"})


def write(table: "pd.DataFrame", folder: Path) -> None:
    """Replace results.csv and results.parquet in `folder`."""
    atomic.write_bytes(folder / f"{NAME}.csv", table.to_csv(index=False).encode())
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    atomic.write_bytes(folder / f"{NAME}.parquet", buffer.getvalue())


def read(plan: Plan, store: Path) -> "pd.DataFrame":
    """The table of what a study has so far, also while it runs or after it was killed. Raises AX092 without a score."""
    known = journal.remembered(plan, store)
    if not any(cell in known for cell in plan.cells):
        stem = plan.id.rpartition("-")[0]
        others = sorted(
            p.parent.name for p in store.glob(f"studies/{stem}-*/{journal.FILE}") if p.parent.name != plan.id
        )
        hint = f" There is {', '.join(others)}: the file, the backbone or the data were others then." if others else ""
        raise AdaptxError("AX092", plan.id, f"it has no scores in the store.{hint}")
    return frame(plan, known)
