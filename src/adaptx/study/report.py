"""The report of a study: one HTML file that needs nothing else. Arranges what `analysis` found; computes nothing."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template

from adaptx import __version__
from adaptx.study import figures, tables
from adaptx.study.findings import Analysis, Row
from adaptx.study.plan import MAIN, NONE
from adaptx.study.sentences import BASES, choosing, limits, shows, spreads

PAGE = Path(__file__).with_name("page.html")
METHODS = (
    "Scores over seeds: mean with Student's t interval (Student 1908).",
    "Differences: paired bootstrap over test items, the same resamples for both systems and all seeds (Koehn 2004), "
    "combined with the variance between seeds as in a crossed layout (Owen 2007); Student's t with Satterthwaite's "
    "degrees of freedom (1946). Systems of a family share their variance between seeds unless one varies more.",
    "Many comparisons: Holm 1979, within a target and a base of comparison.",
    "Variance: mixed model with crossed random effects by restricted maximum likelihood; method of moments as a check "
    "(Searle, Casella & McCulloch 1992); generalised intervals (Weerahandi 1993).",
    "Rankings: Kendall's tau-b between every two seeds (1945). English dev against oracle: after Keung et al. 2020. "
    "Regret@k: the best score of all sources minus the best of the first k.",
    "Collapse: a run, anywhere in the chain, whose score is not above that of a constant answer.",
)


def render(analysis: Analysis) -> str:
    """The whole page."""
    parts = [
        ("shows", "What the numbers show", _list(shows(analysis))),
        ("limits", "What they do not show", _list(limits(analysis))),
        *((f"target-{t}", f"{t} on {analysis.study.language}", c) for t, c in _targets(analysis)),
        ("variance", "Where the variance comes from", _variances(analysis)),
        ("choice", "Choosing a system without target labels", _choices(analysis)),
        ("lost", "Collapsed and failed", tables.lost(analysis) if analysis.lost else "<p>None.</p>"),
        ("all-runs", "Runs", tables.filters(analysis) + tables.runs(analysis)),
        ("methods", "How it was computed", _list(METHODS)),
    ]
    page = Template(PAGE.read_text("utf-8"))
    return page.substitute(
        title=escape(analysis.study.title or f"Study {analysis.id}"),
        subtitle=" · ".join(f"<span>{escape(part)}</span>" for part in _subtitle(analysis)),
        links="".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title, _ in parts),
        sections="\n".join(_section(*part) for part in parts),
    )


def _section(name: str, title: str, content: str) -> str:
    heading = f'<h2 id="h-{name}">{escape(title)}</h2>'
    return f'<section id="{name}" aria-labelledby="h-{name}">{heading}\n{content}</section>'


def _subtitle(analysis: Analysis) -> list[str]:
    table = analysis.table
    backbones = set(zip(table["backbone"], table["backbone_sha256"], strict=True))
    weights = sorted(f"{name} (weights {sha256[:12]})" for name, sha256 in backbones if name)
    devices = sorted({str(d) for d in table["device"] if d})
    days = sorted({str(c)[:10] for c in table["created"] if c})
    return [
        f"Study {analysis.id}",
        f"adaptx {__version__}",
        *(f"backbone {w}" for w in weights),
        *([f"trained on {', '.join(devices)}"] if devices else []),
        *([days[0] if len(set(days)) == 1 else f"{days[0]} to {days[-1]}"] if days else []),
    ]


def _list(sentences: Iterator[str] | Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in sentences) + "</ul>"


def _figure(svg: str, caption: str, data: str = "") -> str:
    more = f"<details><summary>the numbers</summary>{data}</details>" if data else ""
    return f"<figure>{tables.wide(svg, caption)}<figcaption>{escape(caption)}</figcaption>{more}</figure>"


def _targets(analysis: Analysis) -> Iterator[tuple[str, str]]:
    for target in analysis.study.targets:
        rows = [r for r in analysis.rows if r.system.target == target]
        if rows:
            yield target, "\n".join(_target(analysis, target, rows))


def _target(analysis: Analysis, target: str, rows: Sequence[Row]) -> Iterator[str]:
    for method in dict.fromkeys(r.system.method for r in rows):
        if any(r.system.source != NONE and r.system.method == method for r in rows):
            yield tables.heatmap(rows, target, method)
    others = [r for r in rows if r.system.source == NONE or r.system.variant != MAIN]
    if others:
        yield tables.systems(others, f"{target}: baselines and ablations; training time is of the whole chain.")
    for against in BASES:
        svg = figures.forest(analysis, target, against)
        if svg:
            caption = (
                f"{target}: difference to {BASES[against]}, in points, with 95 % intervals over test items and seeds; "
                "filled: significant at 5 % after Holm's correction."
            )
            yield _figure(svg, caption, tables.comparisons(figures.deltas(analysis, target, against), caption))
    svg = figures.cost(analysis, target)
    if svg:
        caption = (
            f"{target}: training time of the whole chain against score, means over seeds; filled and joined: nothing "
            "is cheaper and better."
        )
        yield _figure(svg, caption, tables.systems(rows, f"{target}: every system with its score and cost."))


def _variances(analysis: Analysis) -> str:
    svg = figures.shares(analysis)
    if not svg:
        return "<p>No decomposition: it needs two systems and two seeds that worked.</p>"
    caption = "Shares of the sum of variance components, with 95 % intervals."
    return _list(spreads(analysis)) + _figure(svg, caption) + tables.variances(analysis.variances)


def _choices(analysis: Analysis) -> str:
    if not analysis.choices and not analysis.regrets:
        return "<p>Nothing to choose from.</p>"
    return _list(choosing(analysis)) + tables.choices(analysis)
