"""The report of a study: one HTML file that needs nothing else. Arranges what `analysis` found; computes nothing."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from adaptx import __version__
from adaptx.study import charts
from adaptx.study.analysis import Analysis, Row, System, significant
from adaptx.study.plan import MAIN, NONE
from adaptx.study.sentences import percent, say
from adaptx.units import count, duration

PAGE = Path(__file__).with_name("page.html")
RUN_COLUMNS = (
    "source", "task", "method", "variant", "seed", "target", "metric", "score", "interval", "n", "status", "time",
    "run", "flags",
)  # fmt: skip
FILTERED = ("source", "task", "method", "target", "status")


def render(analysis: Analysis) -> str:
    """The whole page."""
    title = analysis.study.title or f"Study {analysis.id}"
    made = sorted({str(d) for d in analysis.table["device"] if d})
    subtitle = f"Study {analysis.id} · adaptx {__version__} · trained on {', '.join(made) or 'unknown'}"
    sections = [
        _section("What the numbers show, and what they do not", _sentences(analysis)),
        *(s for target in analysis.study.targets for s in _target(analysis, target)),
        _section("Where the variance comes from", _variances(analysis)),
        _section("Choosing a system without target labels", _choices(analysis)),
        _section("Runs", _runs(analysis)),
    ]
    page = Template(PAGE.read_text("utf-8"))
    return page.substitute(title=escape(title), subtitle=escape(subtitle), sections="\n".join(sections))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>"


def _sentences(analysis: Analysis) -> str:
    return "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in say(analysis)) + "</ul>"


def _figure(svg: str, caption: str) -> str:
    return f'<figure><div class="wide">{svg}</div><figcaption>{escape(caption)}</figcaption></figure>'


def _target(analysis: Analysis, target: str) -> Iterator[str]:
    rows = [r for r in analysis.rows if r.system.target == target]
    if not rows:
        return
    parts = [heatmap(rows, target, m) for m in dict.fromkeys(r.system.method for r in rows) if _has_grid(rows, m)]
    others = [r for r in rows if r.system.source == NONE or r.system.variant != MAIN]
    if others:
        parts.append(_beside(others, target))
    for against in ("English", "none"):
        svg = forest(analysis, target, against)
        if svg:
            caption = (
                f"{target}: difference to {'no intermediate task' if against == 'none' else against}, in points, with "
                "95 % intervals over test items and seeds; filled: significant at 5 % after Holm's correction."
            )
            parts.append(_figure(svg, caption))
    svg = cost(analysis, target)
    if svg:
        caption = (
            f"{target}: training time of the whole chain against score, means over seeds; filled: nothing is cheaper "
            "and better."
        )
        parts.append(_figure(svg, caption))
    yield _section(f"{target} on {analysis.study.language}", "\n".join(parts))


def _has_grid(rows: Sequence[Row], method: str) -> bool:
    return any(r.system.source != NONE and r.system.method == method for r in rows)


def _value(row: Row) -> str:
    """Mean with its interval over seeds, as table content."""
    if row.summary is None:
        return "–<small>none worked</small>"
    s = row.summary
    between = "one seed" if s.low is None or s.high is None else f"{percent(s.low)} to {percent(s.high)}"
    lost = f", {row.lost} lost" if row.lost else ""
    return f"{percent(s.mean)}<small>{between}{lost}</small>"


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
            if row is None:
                cells.append('<td class="number">no data</td>')
                continue
            depth = 0.55 * (row.summary.mean - low) / (high - low) if row.summary and high > low else 0.0
            cells.append(f'<td class="number" style="background: rgba(var(--heat), {depth:.2f})">{_value(row)}</td>')
        body.append(f'<tr><th scope="row">{escape(source)}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{escape(t)}</th>' for t in tasks)
    metric = next(iter(here.values())).metric
    caption = (
        f"{target}, {method}: {metric} in percent, mean over seeds with Student's 95 % interval; rows are source "
        "languages, columns intermediate tasks."
    )
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>'
        f'<th scope="col">source</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _beside(rows: Sequence[Row], target: str) -> str:
    """Baselines and ablations as a table."""
    body = "".join(
        f'<tr><th scope="row">{escape(r.system.name)}</th><td class="number">{_value(r)}</td>'
        f'<td class="number">{duration(r.seconds)}</td><td class="number">{count(r.parameters)}</td></tr>'
        for r in rows
    )
    heads = "".join(f'<th scope="col">{h}</th>' for h in ("system", "score", "training time", "trained weights"))
    return (
        f'<div class="wide"><table><caption>{escape(target)}: baselines and ablations, mean over seeds with 95 % '
        f"interval.</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def forest(analysis: Analysis, target: str, against: str) -> str:
    """The forest plot of differences; empty where there are none."""
    found = [d for d in analysis.deltas if d.system.target == target and d.against == against]
    bars = [
        charts.Bar(d.system.name, 100 * d.result.delta, 100 * d.result.low, 100 * d.result.high, significant(d))
        for d in sorted(found, key=lambda d: -d.result.delta)
    ]
    what = "no intermediate task" if against == "none" else against
    return charts.forest(f"{target}: differences to {what}", bars, "points") if bars else ""


def cost(analysis: Analysis, target: str) -> str:
    """Training time against score; empty without scores."""
    points = [
        (r.system.name, r.seconds / 60, 100 * r.summary.mean)
        for r in analysis.rows
        if r.system.target == target and r.summary
    ]
    return (
        charts.scatter(f"{target}: cost against score", points, "minutes of training", "score in percent")
        if points
        else ""
    )


def shares(analysis: Analysis) -> str:
    """Bars of variance components; empty where no grid is full."""
    rows = [(f"{v.target}, {v.method} ({v.metric})", v.moments.shares) for v in analysis.variances]
    return charts.shares("Shares of variance by component", rows) if rows else ""


def _variances(analysis: Analysis) -> str:
    svg = shares(analysis)
    if not svg:
        return "<p>No decomposition: it needs two sources, two tasks and two seeds whose scores are all there.</p>"
    body = []
    for v in analysis.variances:
        for name, value in v.moments.components.items():
            check = "did not converge" if v.likelihood is None else f"{1e4 * v.likelihood[name]:.3f}"
            body.append(
                f'<tr><td>{escape(v.target)}, {escape(v.method)}</td><th scope="row">{escape(name)}</th>'
                f'<td class="number">{1e4 * value:.3f}</td><td class="number">{check}</td>'
                f'<td class="number">{v.moments.df[name]}</td></tr>'
            )
    heads = ("target", "component", "analysis of variance", "mixed model", "degrees of freedom")
    table = (
        '<div class="wide"><table><caption>Variance components in squared points: the method of moments on the full '
        "grid, and restricted maximum likelihood on all scores as a check. Negative estimates count as zero.</caption>"
        f"<thead><tr>{''.join(f'<th scope=col>{h}</th>' for h in heads)}</tr></thead><tbody>{''.join(body)}</tbody>"
        "</table></div>"
    )
    return _figure(svg, "Shares of the sum of variance components.") + table


def _choices(analysis: Analysis) -> str:
    body = []
    for c in analysis.choices:
        what = f"best of {c.seeds} seeds' English dev scores"
        body.append((c.target, c.method, what, percent(c.score), f"{100 * (c.best - c.score):.1f}"))
    for r in analysis.regrets:
        for k, value in r.at.items():
            body.append((r.target, r.method, f"first {k} of: {r.ordering}", "", f"{100 * value:.1f}"))
    if not body:
        return "<p>Nothing to choose from.</p>"
    rows = "".join(f"<tr>{''.join(f'<td>{escape(x)}</td>' for x in line)}</tr>" for line in body)
    heads = "".join(f'<th scope="col">{h}</th>' for h in ("target", "method", "choice", "score", "points lost"))
    return (
        '<div class="wide"><table><caption>What a choice loses against the best system on the target test set, which '
        f"only an oracle knows.</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _runs(analysis: Analysis) -> str:
    table = analysis.table
    filters = []
    for name in FILTERED:
        options = "".join(f"<option>{escape(v)}</option>" for v in sorted({str(v) for v in table[name]}))
        filters.append(
            f'<label>{name}<select data-column="{RUN_COLUMNS.index(name)}"><option value="">all</option>{options}'
            "</select></label>"
        )
    controls = (
        f'<div class="filters">{"".join(filters)}<label>search<input id="search" type="search"></label>'
        '<button type="button" id="reset">reset</button></div><p id="shown" class="quiet" role="status"></p>'
    )
    heads = "".join(f'<th scope="col" aria-sort="none"><button type="button">{h}</button></th>' for h in RUN_COLUMNS)
    body = "".join(_run(row) for row in table.to_dict("records"))
    return (
        f'{controls}<div class="wide"><table id="runs"><caption>Every score with what it stands on; press a heading to '
        f"sort. Intervals are over test items.</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _run(row: dict[Any, Any]) -> str:
    known = row["score"] == row["score"]
    between = f"{percent(row['low'])} to {percent(row['high'])}" if known and row["low"] == row["low"] else ""
    note = "; ".join(x for x in (row["flags"], row["note"]) if x)
    cells: list[tuple[object, object]] = [(row[c], row[c]) for c in RUN_COLUMNS[:7]]
    cells += [
        (percent(row["score"]) if known else "–", row["score"] if known else ""),
        (between, row["low"] if known else ""),
        (f"{row['n']:.0f}" if row["n"] == row["n"] else "", row["n"] if row["n"] == row["n"] else ""),
        (row["status"], row["status"]),
        (duration(row["train_seconds"]), row["train_seconds"]),
        (row["stack"], row["stack"]),
        (note, note),
    ]
    shown = "".join(f'<td data-value="{escape(str(v), quote=True)}">{escape(str(t))}</td>' for t, v in cells)
    return f"<tr>{shown}</tr>"


__all__ = ["System", "cost", "forest", "heatmap", "render", "shares"]
