"""The tables of a report as HTML: every one with a caption, headings that say their scope, and values to sort by.

Arranges findings; computes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from adaptx.study.findings import Analysis, Delta, Row, Variance
from adaptx.study.plan import MAIN, NONE
from adaptx.study.sentences import percent
from adaptx.units import count, duration

RUN_COLUMNS = (
    "source", "task", "method", "variant", "seed", "target", "metric", "score", "interval", "chance", "status", "time",
    "adapters, bottom up", "created", "flags",
)  # fmt: skip
FILTERED = ("source", "task", "method", "target", "metric", "status")
SCOPE = ' scope="row"'
DARKEST = 0.5  # opacity of the best cell of a heatmap: text stays readable on it


@dataclass(frozen=True)
class Value:
    """What a cell shows, what it sorts by (a number; None: its text), and whether it is a figure."""

    text: str
    key: float | str | None = None
    number: bool = False

    def html(self, tag: str = "td", attributes: str = "") -> str:
        """The value as a table cell."""
        key = "" if self.key is None else f' data-value="{escape(str(self.key), quote=True)}"'
        kind = ' class="number"' if self.number else ""
        return f"<{tag}{attributes}{kind}{key}>{escape(self.text)}</{tag}>"


def number(value: float | None, text: str = "") -> Value:
    """A figure that sorts by its value; "–" where there is none."""
    known = value is not None and value == value
    return Value((text or f"{value:g}") if known else "–", value if known else "", True)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Value]], name: str = "") -> str:
    """A sortable table whose rows begin with their heading."""
    top = "".join(f'<th scope="col" aria-sort="none"><button type="button">{escape(h)}</button></th>' for h in heads)
    body = "".join(f"<tr>{first.html('th', SCOPE)}{''.join(v.html() for v in rest)}</tr>" for first, *rest in rows)
    mark = f' id="{name}"' if name else ""
    return wide(
        f'<table class="sortable"{mark}><caption><span>{escape(caption)}</span></caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table>",
        caption,
    )


def wide(content: str, label: str) -> str:
    """Content that may scroll sideways on its own, also with the keyboard."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label, quote=True)}">{content}</div>'


def _interval(low: float | None, high: float | None) -> str:
    """An interval of a score: cut to what a score can be."""
    if low is None or high is None or low != low:
        return "one seed"
    return f"{percent(max(0.0, low))}–{percent(min(1.0, high))}"


def heatmap(rows: Sequence[Row], target: str, method: str) -> str:
    """Sources by intermediate tasks: mean scores with intervals, darker is better."""
    here = {
        (r.system.source, r.system.task): r
        for r in rows
        if r.system.source != NONE and r.system.method == method and r.system.variant == MAIN
    }
    known = [r.summary.mean for r in here.values() if r.summary]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    sources, tasks = (sorted({at[i] for at in here}) for i in range(2))
    body = []
    for source in sources:
        cells = []
        for task in tasks:
            row = here.get((source, task))
            if row is None or row.summary is None:
                lost = "no data" if row is None else f"none of {row.lost} worked"
                cells.append(f'<td class="number quiet">{lost}</td>')
                continue
            depth = DARKEST * (row.summary.mean - low) / (high - low) if high > low else 0.0
            best = ' class="best"' if row.summary.mean == high else ""
            below = _interval(row.summary.low, row.summary.high) + (f", {row.lost} lost" if row.lost else "")
            shown = f"{percent(row.summary.mean)}<small>{below}</small>"
            cells.append(f'<td style="--depth: {depth:.2f}"{best}>{shown}</td>')
        body.append(f'<tr><th scope="row">{escape(source)}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{escape(t)}</th>' for t in tasks)
    metric = next(iter(here.values())).metric
    caption = (
        f"{target}, {method}: {metric} in percent, mean over seeds with Student's 95 % interval below. Rows are source "
        "languages, columns intermediate tasks; the stronger the colour the higher, the highest mean is framed."
    )
    return wide(
        f'<table class="heat"><caption><span>{escape(caption)}</span></caption><thead><tr><th scope="col">source</th>'
        f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table>",
        caption,
    )


def systems(rows: Sequence[Row], caption: str) -> str:
    """Systems with their scores and costs."""
    heads = ("system", "score", "95 % over seeds", "seeds", "lost", "training time", "trained weights")
    return table(
        caption,
        heads,
        (
            (
                Value(r.system.name),
                number(r.summary.mean, percent(r.summary.mean)) if r.summary else number(None),
                Value(_interval(r.summary.low, r.summary.high) if r.summary else "–", number=True),
                number(r.summary.n if r.summary else 0),
                number(r.lost),
                number(r.seconds, duration(r.seconds)),
                number(r.parameters, count(r.parameters)),
            )
            for r in rows
        ),
    )


def comparisons(found: Sequence[Delta], caption: str) -> str:
    """Differences with everything that the test used."""
    heads = ("system", "points", "low", "high", "standard error", "degrees of freedom", "p", "p after Holm", "seeds")

    def small(p: float) -> Value:
        return number(p, f"{p:.3f}" if p >= 0.001 else "< 0.001")

    return table(
        caption,
        heads,
        (
            (
                Value(d.system.name),
                *(number(v, percent(v, True)) for v in (d.result.delta, d.result.low, d.result.high)),
                number(d.result.error, f"{100 * d.result.error:.2f}"),
                number(d.result.df, f"{d.result.df:.1f}"),
                small(d.result.p_value),
                small(d.adjusted),
                number(d.result.seeds),
            )
            for d in found
        ),
    )


def variances(found: Sequence[Variance]) -> str:
    """Components by both estimates."""
    heads = ("target", "component", "mixed model", "share", "95 % of the share", "analysis of variance", "df")
    rows = []
    for v in found:
        for name, value in v.components.items():
            span = v.intervals[name] if v.intervals else None
            check = v.moments.raw[name] if v.moments and name in v.moments.raw else None
            rows.append(
                (
                    Value(f"{v.target}, {v.method}"),
                    Value(name),
                    number(value, f"{1e4 * value:.3f}"),
                    number(v.shares[name], f"{100 * v.shares[name]:.0f} %"),
                    Value(f"{100 * span[0]:.0f}–{100 * span[1]:.0f} %" if span else "–", number=True),
                    number(check, "" if check is None else f"{1e4 * check:.3f}"),
                    number(v.moments.df[name] if v.moments and name in v.moments.df else None),
                )
            )
    caption = (
        "Variance components in squared points: restricted maximum likelihood on all scores, and as a check the method "
        "of moments on the largest part of the grid without holes, where a negative estimate stands for zero. "
        "Intervals are generalised ones from that part. Seed: what all systems of a seed share; residual: what a "
        "single system varies by between seeds."
    )
    return table(caption, heads, rows)


def choices(analysis: Analysis) -> str:
    """What choosing without target labels loses."""
    rows = []
    for c in analysis.choices:
        what = f"best English dev score of {c.systems} systems"
        rows.append((c.target, c.method, what, "", percent(c.score), c.best - c.score))
    for r in analysis.regrets:
        for k, value in r.at.items():
            rows.append((r.target, r.method, f"first {k} by {r.ordering}", ", ".join(r.sources), "", value))
    heads = ("target", "method", "choice", "order of sources", "score", "points lost")
    return table(
        "What a choice loses against the best on the target test set, which only an oracle knows; for orders of "
        "sources on mean scores over seeds, averaged over intermediate tasks.",
        heads,
        ([*map(Value, row[:5]), number(row[5], f"{100 * row[5]:.1f}")] for row in rows),
    )


def lost(analysis: Analysis) -> str:
    """Cells that are in no mean."""
    heads = ("system", "target", "seed", "status", "score", "chance level", "why")
    return table(
        "Collapsed and failed cells: in no mean, no test and no chart on this page.",
        heads,
        (
            (
                Value(x.system.name),
                Value(x.system.target),
                number(x.seed),
                Value(x.status),
                number(x.score, percent(x.score or 0.0)),
                number(x.chance, percent(x.chance or 0.0)),
                Value(x.why),
            )
            for x in analysis.lost
        ),
    )


def filters(analysis: Analysis) -> str:
    """The controls above the runs."""
    found = []
    for name in FILTERED:
        options = "".join(f"<option>{escape(v)}</option>" for v in sorted({str(v) for v in analysis.table[name]}))
        found.append(
            f'<label>{name}<select data-column="{RUN_COLUMNS.index(name)}"><option value="">all</option>{options}'
            "</select></label>"
        )
    return (
        f'<div class="filters" role="search" aria-label="filter the runs">{"".join(found)}<label>search'
        '<input id="search" type="search"></label><button type="button" id="reset">reset</button></div>'
        '<p id="shown" class="quiet" role="status"></p>'
    )


def runs(analysis: Analysis) -> str:
    """Every score with what it stands on."""
    caption = (
        "Every score with the adapters that it stands on, as LANGUAGE/TASK:METHOD@RUN. Intervals here are over test "
        "items. Press a heading to sort."
    )
    return table(caption, RUN_COLUMNS, (_run(row) for row in analysis.table.to_dict("records")), "runs")


def _run(row: dict[Any, Any]) -> list[Value]:
    between = "" if row["low"] != row["low"] else f"{percent(row['low'])}–{percent(row['high'])}"
    return [
        *(Value(str(row[c]), str(row[c])) for c in RUN_COLUMNS[:4]),
        number(row["seed"]),
        *(Value(str(row[c]), str(row[c])) for c in RUN_COLUMNS[5:7]),
        number(row["score"], percent(row["score"])),
        Value(between, number=True),
        number(row["chance"], percent(row["chance"])),
        Value(row["status"], row["status"]),
        number(row["train_seconds"], duration(row["train_seconds"])),
        Value(row["stack"]),
        Value(str(row["created"])[:16].replace("T", " ")),
        Value(row["flags"]),
    ]
