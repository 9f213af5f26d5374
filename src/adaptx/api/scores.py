"""Zero-shot scores in Python: the table of `adaptx eval` as a value that shows itself and gives a data frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from adaptx.api.options import Options, listed, progress_shown, resolve
from adaptx.notebook import Grid
from adaptx.refs import parse_ref

if TYPE_CHECKING:
    import pandas as pd

    from adaptx.table import Entry, System, Table


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


@dataclass(frozen=True, repr=False)
class Scores:
    """The table of an evaluation. Scores are fractions of one; what is shown is in percent."""

    table: "Table"

    @property
    def language(self) -> str:
        """The language that was scored."""
        return self.table.language

    @property
    def notes(self) -> tuple[str, ...]:
        """How test sets differ from what their task's name promises."""
        return self.table.notes

    def as_dict(self) -> dict[str, Any]:
        """The document that `adaptx eval --json` prints."""
        return self.table.as_json()

    def frame(self) -> "pd.DataFrame":
        """A row per system, task and metric: score, 95 % interval, n; for leading metrics the paired difference."""
        import pandas as pd

        return pd.DataFrame(list(_long(self.table)))

    def _grid(self) -> Grid:
        tasks = sorted({t for s in self.table.systems for t in s.tasks})
        heads = [next(s.tasks[t].cell for s in self.table.systems if t in s.tasks) for t in tasks]
        columns = [f"{t}\n{' / '.join(c.metrics)}\nn = {c.n:,}" for t, c in zip(tasks, heads, strict=True)]
        return Grid(
            f"Zero-shot on {self.language} · {self.table.backbone}",
            ("intermediate", *columns),
            tuple((_system(s), *(_entry(s.tasks.get(t)) for t in tasks)) for s in self.table.systems),
            (
                "in percent; [95 % bootstrap interval over test items]; Δ against no intermediate task",
                *self.notes,
                *self.table.missing,
            ),
        )

    def __repr__(self) -> str:
        return self._grid().text()

    def _repr_html_(self) -> str:
        return self._grid().html()


def _system(row: "System") -> str:
    return row.name if row.adapter else f"none ({row.method}{f', {row.label}' if row.label else ''})"


def _entry(entry: "Entry | None") -> str:
    if entry is None:
        return "–"
    low, high = entry.cell.intervals[entry.cell.leading]
    lines = [" / ".join(map(_percent, entry.cell.metrics.values())), f"[{_percent(low)}, {_percent(high)}]"]
    if entry.delta is not None and entry.delta_ci95 is not None:
        low, high = entry.delta_ci95
        lines.append(f"Δ {100 * entry.delta:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
    return "\n".join(lines)


def _long(table: "Table") -> Iterator[dict[str, Any]]:
    for system in table.systems:
        for task, entry in system.tasks.items():
            for metric, score in entry.cell.metrics.items():
                leading = metric == entry.cell.leading
                low, high = entry.cell.intervals[metric]
                delta_low, delta_high = (entry.delta_ci95 if leading else None) or (None, None)
                yield {
                    "adapter": system.name,
                    "method": system.method,
                    "task": task,
                    "lang": table.language,
                    "metric": metric,
                    "leading": leading,
                    "score": score,
                    "low": low,
                    "high": high,
                    "n": entry.cell.n,
                    "delta": entry.delta if leading else None,
                    "delta_low": delta_low,
                    "delta_high": delta_high,
                    "p_value": entry.p_value if leading else None,
                    "target": entry.target,
                }


def evaluate(
    lang: str,
    *,
    adapters: Sequence[str] | str = (),
    tasks: Sequence[str] | str | None = None,
    stack: Sequence[str] | str = (),
    method: str | None = None,
    may_train: bool = True,
    ablate: bool = False,
    progress: bool = True,
    **options: Unpack[Options],
) -> Scores:
    """Zero-shot scores on `lang`: a row without intermediate task, then one for every intermediate adapter.

    Missing English target adapters are trained first, with the training `options`, unless `may_train` is false.
    `adapters`: only these references. `tasks`: only these task ids. `stack`: score one explicit stack instead, bottom
    up. `ablate`: every row on the language's adapter, on none, and on the source language's.

    Raises AX001 and AX002 for unknown names, AX006 for adapters that are not there, AX014 without test data.
    """
    from adaptx import table

    here, chosen = resolve(options, method)
    names = None if tasks is None else listed(tasks)
    with progress_shown(progress) as report:
        if stack:
            planned = table.stacked(here, lang, [parse_ref(r) for r in listed(stack)], names)
        else:
            refs = [parse_ref(r) for r in listed(adapters)]
            planned = table.plan(here, lang, chosen, tasks=names, adapters=refs, may_train=may_train, ablate=ablate)
        return Scores(table.run(here, lang, chosen, planned, report))
