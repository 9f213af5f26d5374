"""A study's results in files for papers and other tools: tables, LaTeX, charts. Computes nothing."""

import json
import re
from pathlib import Path

from adaptx import atomic
from adaptx.study import charts, figures, results
from adaptx.study.findings import Analysis, System
from adaptx.study.plan import MAIN, NONE

SPECIAL = {
    **{c: rf"\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def tex(text: str) -> str:
    """`text` with LaTeX's special characters escaped."""
    return "".join(SPECIAL.get(c, c) for c in text)


def latex(analysis: Analysis) -> str:
    """A booktabs table: systems by targets, mean and sd over seeds; a dagger marks a difference to no intermediate task
    that is significant at 5 % after Holm's correction."""
    targets = [t for t in analysis.study.targets if any(r.system.target == t for r in analysis.rows)]
    marked = {d.system for d in analysis.deltas if d.against == "none" and d.significant}
    found = dict.fromkeys(_key(r.system) for r in analysis.rows)
    names = sorted(found, key=lambda name: name[0] != NONE)  # the baseline first
    lines = [
        r"\begin{tabular}{llll" + "r" * len(targets) + "}",
        r"\toprule",
        " & ".join(("source", "task", "method", "variant", *map(tex, targets))) + r" \\",
        r"\midrule",
    ]
    for name in names:
        cells = []
        for target in targets:
            row = next((r for r in analysis.rows if r.system.target == target and _key(r.system) == name), None)
            if row is None or row.summary is None:
                cells.append("--")
                continue
            spread = "" if row.summary.sd is None else rf" {{\small $\pm$ {100 * row.summary.sd:.1f}}}"
            dagger = r"$^\dagger$" if row.system in marked else ""
            cells.append(f"{100 * row.summary.mean:.1f}{spread}{dagger}")
        source = "--" if name[0] == NONE else name[0]
        task = "--" if name[1] == NONE else name[1]
        shown = (source, task, name[2], "" if name[3] == MAIN else name[3])
        lines.append(" & ".join((*map(tex, shown), *cells)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _key(system: System) -> tuple[str, str, str, str]:
    return system.source, system.task, system.method, system.variant


def as_json(analysis: Analysis) -> dict[str, object]:
    """The statistics as one document; scores are fractions of one."""
    return {
        "study": analysis.id,
        "systems": [
            {**vars(r.system), "metric": r.metric, **(vars(r.summary) if r.summary else {"n": 0}), "lost": r.lost,
             "test_items": r.n, "train_seconds": r.seconds, "trainable_parameters": r.parameters}
            for r in analysis.rows
        ],
        "deltas": [
            {**vars(d.system), "against": d.against, **vars(d.result), "holm_p": d.adjusted} for d in analysis.deltas
        ],
        "variance": [
            {"target": v.target, "method": v.method, "metric": v.metric, "levels": v.levels,
             "mixed_model": v.components, "shares": v.shares, "share_intervals": v.intervals,
             "anova": v.moments and v.moments.raw, "df": v.moments and v.moments.df}
            for v in analysis.variances
        ],
        "stability": [vars(s) for s in analysis.stabilities],
        "selection": [vars(c) for c in analysis.choices],
        "regret": [vars(r) for r in analysis.regrets],
        "lost": [{**vars(x), "system": vars(x.system)} for x in analysis.lost],
    }  # fmt: skip


def png(svg: str) -> bytes:
    """A chart as a PNG of twice its size."""
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=2))


def letters_are_drawn() -> bool:
    """Whether this machine has a font: without one a PNG would lack its words."""
    empty, word = (charts.alone(charts.shares("", [(text, ())])) for text in ("", "word"))
    return png(empty) != png(word)


def write(analysis: Analysis, folder: Path) -> list[Path]:
    """Results as CSV and parquet, statistics as JSON, a LaTeX table, every chart as SVG and PNG; returns the files.

    There are no PNGs on a machine without any font.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results.write(analysis.table, folder)
    content = {
        "statistics.json": (json.dumps(as_json(analysis), indent=2, ensure_ascii=False) + "\n").encode(),
        "table.tex": latex(analysis).encode(),
    }
    drawn = letters_are_drawn()
    for name, svg in figures.every(analysis):
        if svg:
            whole = charts.alone(svg)
            content[f"{_file(name)}.svg"] = whole.encode()
            if drawn:
                content[f"{_file(name)}.png"] = png(whole)
    for name, data in content.items():
        atomic.write_bytes(folder / name, data)
    return [folder / f"{results.NAME}.{kind}" for kind in ("csv", "parquet")] + [folder / name for name in content]


def _file(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", name)
