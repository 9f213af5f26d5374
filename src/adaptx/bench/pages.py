"""An analysis as files: a page that needs nothing else, the same as Markdown, and its charts. Computes nothing."""

import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template

from adaptx import __version__, atomic
from adaptx.bench import report
from adaptx.bench.report import Analysis
from adaptx.bench.tables import Column, Row
from adaptx.study import charts
from adaptx.study.report import PAGE
from adaptx.study.tables import Value, table, wide

LEGEND = (
    "↑ higher is better, ↓ lower is better. Tokens are real ones, padding excluded. Utilisation is the operations that "
    "the model needs, by formula, against the best matrix product measured on the same device. Peak memory is "
    "what the allocator gave on a GPU, and on a CPU what the process held beyond its libraries. A dash is a value that "
    "could not be measured. +8bit: the optimiser's moments in 8 bits. +ckpt: layers computed again for the backward "
    "pass. +padded: not packed. +upper: adapters in the upper half of the layers; what enters them is computed in a "
    "first pass and kept, and its times are those of later passes (the probe's too). +int8: products with frozen "
    "weights in 8-bit integers, everything else in bf16. +compile: what lies between matrix products fused by "
    "torch.compile."
)
FILTERED = ("what", "method", "task", "backbone", "machine")


def write(analysis: Analysis, folder: Path) -> list[Path]:
    """report.html, report.md and charts/*.svg in `folder`; reports of before are replaced."""
    files = {"report.html": html(analysis), "report.md": markdown(analysis)}
    files |= {f"charts/{name}.svg": charts.alone(svg) for name, (_, svg) in _charts(analysis).items()}
    for old in sorted((folder / "charts").glob("[0-9][0-9]-*.svg")):
        old.unlink()  # another report's, whose charts had other names
    for name, text in files.items():
        atomic.write_bytes(folder / name, text.encode())
    return [folder / name for name in files]


def _charts(analysis: Analysis) -> dict[str, tuple[str, str]]:
    """Captions and charts by file name."""
    found = [(caption, svg) for caption, svg in report.charts_of(analysis)]
    return {f"{i:02d}-{_slug(c.partition('.')[0])}": (c, svg) for i, (c, svg) in enumerate(found, 1)}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]


def _title(analysis: Analysis) -> tuple[str, str]:
    machines = sorted({r["machine"] for r in report.run_rows(analysis)})
    days = sorted({r["created"][:10] for r in report.run_rows(analysis)})
    span = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return "What each method costs", f"{', '.join(machines)} · {span} · {len(analysis.records)} runs"


def markdown(analysis: Analysis) -> str:
    """The report as Markdown, charts as files beside it."""
    title, subtitle = _title(analysis)
    lines = [f"# {title}", "", f"{subtitle} · adaptx {__version__}", "", LEGEND, ""]
    lines += [f"- {s}" for s in report.sentences(analysis)]
    for name, columns, rows in report.tables_of(analysis):
        lines += ["", f"## {name}", "", *_markdown(columns, rows)]
    for name, (caption, _) in _charts(analysis).items():
        lines += ["", f"![{caption.partition('.')[0]}](charts/{name}.svg)", "", caption]
    for name, columns, rows in report.details_of(analysis):
        lines += ["", f"## {name}", "", *_markdown(columns, rows)]
    runs = report.run_rows(analysis)
    lines += ["", "## Runs", "", *_markdown(_plain(runs), runs), ""]
    return "\n".join(lines)


def _plain(rows: Sequence[Row]) -> list[Column]:
    """A column for every field."""
    return [Column(key, lambda r, key=key: str(r[key])) for key in rows[0]]  # type: ignore[misc]


def _markdown(columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[str]:
    yield "| " + " | ".join(c.heading for c in columns) + " |"
    yield "|" + "|".join("---" if i == 0 else "---:" for i in range(len(columns))) + "|"
    for row in rows:
        yield "| " + " | ".join(c.text(row).replace("|", "\\|") for c in columns) + " |"


def html(analysis: Analysis) -> str:
    """The whole page."""
    title, subtitle = _title(analysis)
    runs = report.run_rows(analysis)
    parts = [
        ("How to read it", f"<p>{escape(LEGEND)}</p>"),
        ("What the numbers show", _list(report.sentences(analysis))),
        *((name, _table(name, columns, rows)) for name, columns, rows in report.tables_of(analysis)),
        *((caption.partition(".")[0], _figure(svg, caption)) for caption, svg in _charts(analysis).values()),
        *((name, _table(name, columns, rows)) for name, columns, rows in report.details_of(analysis)),
        ("Runs", _controls(runs) + _table("Every process that was measured.", _plain(runs), runs, "runs")),
    ]
    sections = [(f"s{i}", name, content) for i, (name, content) in enumerate(parts, 1)]
    return Template(PAGE.read_text("utf-8")).substitute(
        title=escape(title),
        subtitle=escape(f"{subtitle} · adaptx {__version__}"),
        links="".join(f'<li><a href="#{at}">{escape(name)}</a></li>' for at, name, _ in sections),
        sections="\n".join(
            f'<section id="{at}" aria-labelledby="h-{at}"><h2 id="h-{at}">{escape(name)}</h2>\n{content}</section>'
            for at, name, content in sections
        ),
    )


def _list(sentences: Iterator[str]) -> str:
    found = "".join(f"<li>{escape(s)}</li>" for s in sentences)
    return f"<ul>{found}</ul>" if found else "<p>Nothing was measured beside full fine-tuning.</p>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{wide(svg, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(caption: str, columns: Sequence[Column], rows: Sequence[Row], name: str = "") -> str:
    return table(caption, [c.heading for c in columns], ([_cell(c, r) for c in columns] for r in rows), name)


def _cell(column: Column, row: Row) -> Value:
    key = column.key(row) if column.key else None
    figure = isinstance(key, int | float)
    return Value(column.text(row), "" if column.key and key is None else key, figure)


def _controls(rows: Sequence[Row]) -> str:
    """What the page's script filters the runs by."""
    keys = list(rows[0])
    filters = []
    for name in FILTERED:
        options = "".join(f"<option>{escape(v)}</option>" for v in sorted({str(r[name]) for r in rows}))
        filters.append(
            f'<label>{name}<select data-column="{keys.index(name)}"><option value="">all</option>{options}'
            "</select></label>"
        )
    return (
        f'<div class="filters">{"".join(filters)}<label>search<input id="search" type="search"></label>'
        '<button type="button" id="reset">reset</button></div><p id="shown" class="quiet" role="status"></p>'
    )
