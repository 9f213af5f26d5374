"""Charts as inline SVG: text in, text out. Colours come from the page's CSS variables; every chart names itself.

Knows numbers and labels only, no study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

SOLO_STYLE = (
    "<style>text{font:12px sans-serif;fill:#222}.axis{stroke:#888}.mark{fill:#2b6cb0}.line{stroke:#2b6cb0}"
    ".soft{fill:#d5dbe3}.quiet{fill:#777}</style>"
)


@dataclass(frozen=True)
class Bar:
    """A named interval `low`..`high` with its centre; `strong`: drawn filled."""

    name: str
    centre: float
    low: float
    high: float
    strong: bool = True


def _svg(width: int, height: int, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>{"".join(body)}</svg>'
    )


def alone(svg: str) -> str:
    """A chart as a file of its own: with the colours that a page would give it."""
    at = svg.index(">") + 1
    return svg[:at] + SOLO_STYLE + svg[at:] + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{name}>{escape(text)}</text>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between `low` and `high`, roughly `about` of them."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / about
    power = 10.0 ** _floor_log10(raw)
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(s - raw))
    first = -(-low // step)
    out = []
    while first * step <= high + 1e-12:
        out.append(first * step)
        first += 1
    return out


def _floor_log10(value: float) -> int:
    return int(f"{value:e}".split("e")[1])


def forest(title: str, bars: Sequence[Bar], unit: str) -> str:
    """Intervals on one axis around zero, a line each; filled marks are significant."""
    left, right, row, top = 250, 620, 24, 14
    low, high = min(0.0, *(b.low for b in bars)), max(0.0, *(b.high for b in bars))
    pad = 0.05 * (high - low or 1.0)
    low, high = low - pad, high + pad

    def x(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    bottom = top + row * len(bars)
    body = [f'<line class="axis" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{top - 8}" y2="{bottom}"/>']
    for i, bar in enumerate(bars):
        y = top + row * (i + 0.5)
        mark = "mark" if bar.strong else "soft"
        body += [
            _text(left - 10, y + 4, bar.name, "end"),
            f'<line class="line" x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<circle class="{mark}" stroke="currentColor" cx="{x(bar.centre):.1f}" cy="{y:.1f}" r="5"/>',
            _text(right + 10, y + 4, f"{bar.centre:+.1f} [{bar.low:+.1f}, {bar.high:+.1f}]"),
        ]
    body += [_text(x(t), bottom + 16, f"{t:g}", "middle", "quiet") for t in ticks(low, high)]
    body.append(_text((left + right) / 2, bottom + 34, unit, "middle", "quiet"))
    return _svg(780, bottom + 42, title, body)


def shares(title: str, rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Shares of one as bars, grouped by row name."""
    left, right, line, y = 250, 620, 20, 10.0
    body: list[str] = []
    for name, parts in rows:
        body.append(_text(6, y + 14, name))
        y += 20
        for part, share in parts.items():
            width = max(0.5, (right - left) * share)
            body += [
                _text(left - 10, y + 13, part, "end"),
                f'<rect class="soft" x="{left}" y="{y + 2:.1f}" width="{right - left}" height="14"/>',
                f'<rect class="mark" x="{left}" y="{y + 2:.1f}" width="{width:.1f}" height="14"/>',
                _text(right + 10, y + 13, f"{100 * share:.0f} %"),
            ]
            y += line
        y += 10
    return _svg(700, round(y) + 4, title, body)


def scatter(title: str, points: Sequence[tuple[str, float, float]], x_name: str, y_name: str) -> str:
    """Points (name, x, y) with the Pareto front (less x, more y) named; every point says its name when asked."""
    left, right, top, bottom = 60, 660, 16, 300
    xs, ys = [p[1] for p in points], [p[2] for p in points]
    x_low, x_high = 0.0, max(xs) * 1.08 or 1.0
    pad = 0.1 * (max(ys) - min(ys) or 1.0)
    y_low, y_high = min(ys) - pad, max(ys) + pad

    def x(value: float) -> float:
        return left + (right - left) * (value - x_low) / (x_high - x_low)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - y_low) / (y_high - y_low)

    body = [
        f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<line class="axis" x1="{left}" x2="{left}" y1="{top}" y2="{bottom}"/>',
    ]
    body += [_text(x(t), bottom + 16, f"{t:g}", "middle", "quiet") for t in ticks(x_low, x_high)]
    body += [_text(left - 6, y(t) + 4, f"{t:g}", "end", "quiet") for t in ticks(y_low, y_high)]
    front = pareto(points)
    for name, px, py in sorted(points, key=lambda p: p in front):
        best = (name, px, py) in front
        kind, size = ("mark", 6) if best else ("soft", 5)
        body.append(
            f'<circle class="{kind}" stroke="currentColor" cx="{x(px):.1f}" cy="{y(py):.1f}" r="{size}">'
            f"<title>{escape(f'{name}: {px:.0f}, {py:.1f}')}</title></circle>"
        )
        if best:
            end = x(px) > 430
            body.append(_text(x(px) + (-10 if end else 10), y(py) - 8, name, "end" if end else "start"))
    body += [_text((left + right) / 2, bottom + 36, x_name, "middle"), _text(left, top - 4, y_name)]
    return _svg(700, bottom + 46, title, body)


def pareto(points: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """The points that no other beats: none has at most its x and more y, or less x and at least its y."""
    return [
        p for p in points if not any((q[1] <= p[1] and q[2] > p[2]) or (q[1] < p[1] and q[2] >= p[2]) for q in points)
    ]
