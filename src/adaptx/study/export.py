"""A study's results in files for papers and other tools: tables, LaTeX, charts. Computes nothing."""

import json
import re
from pathlib import Path

from adaptx import atomic
from adaptx.study import charts, report, results
from adaptx.study.analysis import Analysis, significant
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
    marked = {d.system for d in analysis.deltas if d.against == "none" and significant(d)}
    names = list(
        dict.fromkeys((r.system.source, r.system.task, r.system.method, r.system.variant) for r in analysis.rows)
    )
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


def _key(system: report.System) -> tuple[str, str, str, str]:
    return system.source, system.task, system.method, system.variant


def as_json(analysis: Analysis) -> dict[str, object]:
    """The statistics as one document; scores are fractions of one."""
    return {
        "study": analysis.id,
        "systems": [
            {**vars(r.system), "metric": r.metric, **(vars(r.summary) if r.summary else {"n": 0}), "lost": r.lost,
             "test_items": r.n, "train_seconds": r.seconds}
            for r in analysis.rows
        ],
        "deltas": [
            {**vars(d.system), "against": d.against, **vars(d.result), "holm_p": d.adjusted} for d in analysis.deltas
        ],
        "variance": [
            {"target": v.target, "method": v.method, "shape": list(v.shape), "anova": v.moments.components,
             "anova_untruncated": v.moments.raw, "df": v.moments.df, "mixed_model": v.likelihood}
            for v in analysis.variances
        ],
        "stability": [vars(s) for s in analysis.stabilities],
        "selection": [vars(c) for c in analysis.choices],
        "regret": [vars(r) for r in analysis.regrets],
    }  # fmt: skip


def write(analysis: Analysis, folder: Path) -> list[Path]:
    """Results as CSV and parquet, statistics as JSON, a LaTeX table, every chart as SVG; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    results.write(analysis.table, folder)
    texts = {
        "statistics.json": json.dumps(as_json(analysis), indent=2, ensure_ascii=False) + "\n",
        "table.tex": latex(analysis),
    }
    for target in analysis.study.targets:
        drawn = {
            "vs-english": report.forest(analysis, target, "English"),
            "vs-none": report.forest(analysis, target, "none"),
            "cost": report.cost(analysis, target),
        }
        texts |= {f"{_file(target)}-{name}.svg": charts.alone(svg) for name, svg in drawn.items() if svg}
    variance = report.shares(analysis)
    if variance:
        texts["variance.svg"] = charts.alone(variance)
    for name, text in texts.items():
        atomic.write_bytes(folder / name, text.encode())
    return [folder / f"{results.NAME}.{kind}" for kind in ("csv", "parquet")] + [folder / name for name in texts]


def _file(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", name)
