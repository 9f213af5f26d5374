"""The report of measurements: rows by setting, what they amount to, one HTML file and the same as Markdown.

Arranges what `summary`, `curves` and `amortise` found. The page and the charts are the study report's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from adaptx.bench import amortise, curves, summary, tables
from adaptx.bench.prices import Prices
from adaptx.bench.tables import Column, Row
from adaptx.study import charts
from adaptx.study.charts import Point
from adaptx.units import duration, size

Record = dict[str, Any]
COMPARABLE = 3  # methods under one setting that make it a comparison, not a point of a curve
QUIET = 0.85  # of the processor in the measured steps; a process that had less shared it with others


@dataclass(frozen=True)
class Analysis:
    """Everything that a report says, as rows."""

    records: tuple[Record, ...]
    cost: tuple[Row, ...]
    accuracy: tuple[Row, ...]
    target: tuple[Row, ...]
    serve: tuple[Row, ...]
    series: tuple[curves.Series, ...]
    shared: tuple[amortise.Shared, ...]
    served: tuple[amortise.Served, ...]


def analyse(records: Sequence[Record], prices: Prices) -> Analysis:
    """Rows, curves and amortised cost of all records."""
    steps, serve = summary.groups(records, "steps"), summary.groups(records, "serve")
    cost = tuple(summary.cost_row(g, prices) for g in steps)
    compared = [r for _, rows in _compared(cost) for r in rows]
    return Analysis(
        tuple(records),
        cost,
        tuple(summary.accuracy_row(g, prices) for g in summary.groups(records, "accuracy")),
        tuple(summary.target_row(g) for g in summary.groups(records, "target")),
        tuple(summary.serve_row(g) for g in serve),
        (*curves.series(steps, curves.STEPS), *curves.series(serve, curves.SERVE)),
        tuple(amortise.shared(compared)),
        tuple(amortise.served(compared)),
    )


def as_json(analysis: Analysis) -> dict[str, Any]:
    """The rows as one document."""
    return {
        "table": list(analysis.cost),
        "accuracy": list(analysis.accuracy),
        "target": list(analysis.target),
        "serve": list(analysis.serve),
        "growth": curves.as_json(analysis.series),
        "shared_language_adapter": [{**vars(s), "break_even_tasks": s.break_even} for s in analysis.shared],
        "served": [vars(s) for s in analysis.served],
    }


Table = tuple[str, Sequence[Column], list[Row]]


def tables_of(analysis: Analysis) -> Iterator[Table]:
    """Titles, columns and rows of the main tables, one for every setting under which methods are compared."""
    for title, rows in _compared(analysis.cost):
        yield f"Cost of training steps: {title}", tables.COST, rows
    for (task, lang, backbone), rows in _by(analysis.accuracy, "task", "lang", "backbone"):
        first = rows[0]
        note = f"; {first['note']}" if first["note"] else ""
        title = f"Accuracy: {task} -> {lang}, {first['metric']} on {first['n']} examples, {backbone}{note}"
        yield title, tables.ACCURACY, sorted(rows, key=lambda r: -r["mean"])
    for (task, metric), rows in _by(analysis.target, "task", "metric"):
        yield f"Training time to a dev score: {task}, {metric}", tables.TARGET, rows
    for (backbone,), rows in _by(analysis.serve, "backbone"):
        yield f"Adapters held ready on one backbone: {backbone}", tables.SERVE, rows


def details_of(analysis: Analysis) -> Iterator[Table]:
    """The tables behind the main ones: points of curves, memory by role, wall time by phase, amortised cost."""
    points = [r for _, rows in _settings(analysis.cost) if len(rows) < COMPARABLE for r in rows]
    if points:
        yield "Points of the curves", tables.POINTS, points
    for title, rows in _compared(analysis.cost):
        yield f"Memory and operations: {title}", tables.MEMORY, rows
        yield f"Wall seconds by phase: {title}", tables.SECONDS, rows
        kept = [r for r in rows if r["kept_layers"]]
        if kept:
            yield f"Lower layers run once a batch: {title}", tables.KEPT, kept
    if analysis.shared:
        yield (
            f"A language adapter shared by k tasks: hours a task, a language of {amortise.LANGUAGE_TOKENS:,} tokens "
            f"and tasks of {amortise.TASK_TOKENS:,}",
            (
                tables.column("method", "label"),
                *(_at(f"k = {k}", k) for k in amortise.TASKS),
                tables.column("full, each", "full", lambda v: f"{v:.2f}", "lower"),
                tables.column("cheaper from k", "break_even", lambda v: f"{v:.1f}", "lower"),
            ),
            [
                {"label": s.label, "full": s.full_hours, "break_even": s.break_even,
                 **{str(k): f"{s.per_task(k):.2f}" for k in amortise.TASKS}}
                for s in analysis.shared
            ],
        )  # fmt: skip
    for backbone in dict.fromkeys(s.backbone for s in analysis.served):
        found = [s for s in analysis.served if s.backbone == backbone]
        sizes = {s.method: {str(n): size(s.adapters(n)) for n in amortise.SERVED} for s in found}
        sizes["full"] = {str(n): size(found[0].models(n)) for n in amortise.SERVED}
        columns = (tables.column("method", "label"), *(_at(f"n = {n}", n) for n in amortise.SERVED))
        title = f"n tasks on disk: one {backbone} with n adapters, and n full models"
        yield title, columns, [{"label": name, **row} for name, row in sizes.items()]


def _at(title: str, key: int) -> Column:
    return Column(title, lambda r: r[str(key)], "lower")


def _compared(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Settings with enough methods for a comparison."""
    return ((title, found) for title, found in _settings(rows) if len(found) >= COMPARABLE)


def _settings(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    keys = ("backbone", "task", "lengths", "precision", "batch_tokens", "machine")
    for (backbone, task, lengths, precision, batch, machine), found in _by(rows, *keys):
        text = f"{task}{f' of {lengths} tokens' if lengths and lengths != 'nli' else ''}"
        yield f"{backbone}, {text}, {batch} tokens a batch, {precision}, {machine}", found


def _by(rows: Sequence[Row], *keys: str) -> Iterator[tuple[tuple[Any, ...], list[Row]]]:
    """Rows by their values at `keys`, in the order in which those first appear."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[k] for k in keys), []).append(row)
    yield from found.items()


def charts_of(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Captions and charts: accuracy against time and against memory, and the curves of growth."""
    for (task, lang), rows in _by(analysis.accuracy, "task", "lang"):
        for name, unit, key, scale in (
            ("training time", "hours of training", "train_seconds", 3600),
            ("memory", "peak memory in GiB", "memory_bytes", 2**30),
        ):
            points = [Point(r["label"], r[key] / scale, 100 * r["mean"]) for r in rows]
            title = f"{task} -> {lang}: {rows[0]['metric']} against {name}"
            svg = charts.scatter(title, points, unit, f"{rows[0]['metric']} in percent, mean over seeds")
            front = ", ".join(p.name for p in charts.pareto(points))
            yield f"{title}. Nothing is both cheaper and better than: {front}.", svg
    for (axis, value, setting), lines in _series(analysis.series):
        title = f"{value} by {axis} ({setting})"
        fits = ", ".join(f"{s.label} {s.fit.exponent:.2f} (R² {s.fit.r2:.3f})" for s in lines if s.fit)
        yield f"{title}. Fitted exponents: {fits}.", curves.chart(title, lines, lines[0].unit, value)


def _series(found: Sequence[curves.Series]) -> Iterator[tuple[tuple[str, str, str], list[curves.Series]]]:
    grouped: dict[tuple[str, str, str], list[curves.Series]] = {}
    for s in found:
        grouped.setdefault((s.axis, s.value, s.setting), []).append(s)
    yield from grouped.items()


def sentences(analysis: Analysis) -> Iterator[str]:
    """What the rows say, in words; differences that repetitions do not support are not claimed."""
    for title, rows in _compared(analysis.cost):
        full = next((r for r in rows if r["label"] == "full"), None)
        for row in rows if full else ():
            if full and row["method"] != "full":
                yield f"{row['label']} against full ({title}): {_against(row, full)}."
    loud = sorted({r["label"] for r in analysis.cost if r["cpu_share"] is not None and r["cpu_share"] < QUIET})
    if loud:
        yield (
            f"Other processes used the processor while {', '.join(loud)} ran (under {QUIET:.0%} of it was theirs in "
            "some repetition): their times are upper bounds."
        )
    slow = [r for r in analysis.target if r["seconds"] is None]
    for row in slow:
        yield f"{row['label']} did not reach {100 * row['score']:.0f} on {row['task']} in every repetition."


def _against(row: Row, full: Row) -> str:
    parts = [f"{100 * row['trainable_parameters'] / full['trainable_parameters']:.3g} % of the trained weights"]
    ours, theirs = row["step_seconds"], full["step_seconds"]
    factor = row["tokens_per_s"] / full["tokens_per_s"]
    spreads = [r["sd_of_medians"] for r in (row, full)]
    if None in spreads:
        parts.append(f"{factor:.2f} times its tokens/s in a single repetition")
    else:
        clear = abs(ours["median"] - theirs["median"]) > 2 * max(spreads)
        parts.append(f"{factor:.2f} times its tokens/s" if clear else "no clear difference in speed")
    if full["memory_bytes"]:
        parts.append(f"{100 * row['memory_bytes'] / full['memory_bytes']:.0f} % of its peak memory")
    return ", ".join(parts)


def run_rows(analysis: Analysis) -> list[Row]:
    """A line for every process: what it measured, when and on what."""
    return [
        {
            "what": r["what"],
            "method": r["label"],
            "task": r["spec"]["task"],
            "backbone": r["spec"]["shape"] or r["spec"]["backbone"],
            "precision": r["spec"]["precision"],
            "repetition": r["spec"]["seed"] if r["what"] == "accuracy" else r["repetition"],
            "created": r["provenance"]["created"],
            "machine": summary.machine(r),
            "load": f"{r['provenance']['load'][0]:.1f}",
            "wall time": duration(r["outside"]["wall_seconds"]) if "outside" in r else "–",
            "torch": r["provenance"]["versions"].get("torch", "–"),
            "code": r["provenance"]["code"][:10],
        }
        for r in analysis.records
    ]
