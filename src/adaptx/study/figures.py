"""The charts of a study: what of an analysis goes into which chart. Draws nothing itself."""

from collections.abc import Iterator

from adaptx.study import charts
from adaptx.study.findings import Analysis, Delta
from adaptx.study.sentences import BASES


def deltas(analysis: Analysis, target: str, against: str) -> list[Delta]:
    """The differences to one base on one target, largest first."""
    found = [d for d in analysis.deltas if d.system.target == target and d.against == against]
    return sorted(found, key=lambda d: -d.result.delta)


def forest(analysis: Analysis, target: str, against: str) -> str:
    """The forest plot of differences; empty where there are none."""
    found = deltas(analysis, target, against)
    bars = [
        charts.Bar(d.system.name, 100 * d.result.delta, 100 * d.result.low, 100 * d.result.high, d.significant)
        for d in found
    ]
    strong = sum(d.significant for d in found)
    title = f"{target}: {len(bars)} differences to {BASES[against]}, {strong} significant"
    return charts.forest(title, bars, f"points against {BASES[against]}") if bars else ""


def cost(analysis: Analysis, target: str) -> str:
    """Training time against score; empty without scores."""
    points = [
        charts.Point(r.system.name, r.seconds / 60, 100 * r.summary.mean)
        for r in analysis.rows
        if r.system.target == target and r.summary
    ]
    if not points:
        return ""
    front = len(charts.pareto(points))
    title = f"{target}: training time against score of {len(points)} systems, {front} on the Pareto front"
    return charts.scatter(title, points, "minutes of training", "score in percent")


def shares(analysis: Analysis) -> str:
    """Bars of variance components; empty where nothing can be decomposed."""
    groups = []
    for v in analysis.variances:
        spans = v.intervals or {}
        parts = [charts.Share(name, value, *spans.get(name, (None, None))) for name, value in v.shares.items()]
        groups.append((f"{v.target}, {v.method} ({v.metric})", parts))
    return charts.shares("Shares of variance by component", groups) if groups else ""


def every(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Name and SVG of every chart that the study has."""
    for target in analysis.study.targets:
        for against in BASES:
            yield f"{target}-vs-{against.lower()}", forest(analysis, target, against)
        yield f"{target}-cost", cost(analysis, target)
    yield "variance", shares(analysis)
