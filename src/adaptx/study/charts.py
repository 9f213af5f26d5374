"""Charts as inline SVG: text in, text out. Colours come from the page's CSS variables; every chart names itself.

Knows numbers and labels only, no study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

SOLO_STYLE = (
    "<style>text{font:12px 'DejaVu Sans',Arial,sans-serif;fill:#1d2733;paint-order:stroke;stroke:#fff;stroke-width:3px}"
    ".quiet{fill:#5c6773}.axis{stroke:#5c6773}.rule{stroke:#e3e8ee}.mark{fill:#1f5fa8;stroke:#1f5fa8}"
    ".hollow{fill:#fff;stroke:#1f5fa8}.line{stroke:#1f5fa8;fill:none}.soft{fill:#e3e8ee}</style>"
)
LINE = 26  # height of a row of a forest plot
CHARACTER = 6.6  # width of a character of 12 px, on the wide side
WIDTH, VALUES = 760, 165  # of every chart; of the column with numbers at its right


@dataclass(frozen=True)
class Bar:
    """A named interval `low`..`high` with its centre; `strong`: drawn filled."""

    name: str
    centre: float
    low: float
    high: float
    strong: bool = True


@dataclass(frozen=True)
class Point:
    """A named place: `x` is better when small, `y` when large."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Share:
    """A named part of one with its interval, if it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def _svg(height: float, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>{"".join(body)}</svg>'
    )


def alone(svg: str) -> str:
    """A chart as a file of its own: with the size, ground and colours that a page would give it."""
    at = svg.index(">") + 1
    height = svg[:at].split('viewBox="')[1].split('"')[0].split()[3]
    opening = svg[: at - 1] + f' width="{WIDTH}" height="{height}">'
    return opening + SOLO_STYLE + '<rect width="100%" height="100%" fill="#fff"/>' + svg[at:] + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{name}>{escape(text)}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _margin(names: Sequence[str], most: float = 330.0) -> float:
    """Room for the longest name at the left."""
    return min(most, CHARACTER * max(map(len, names), default=0) + 16)


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
    left, right, top = _margin([b.name for b in bars]), WIDTH - VALUES, 10.0
    low, high = min(0.0, *(b.low for b in bars)), max(0.0, *(b.high for b in bars))
    pad = 0.04 * (high - low or 1.0)
    low, high = low - pad, high + pad

    def x(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    bottom = top + LINE * len(bars)
    marks = [t for t in ticks(low, high) if low <= t <= high]
    body = [_line("rule", x(t), top, x(t), bottom) for t in marks]
    body += [_line("axis", x(0), top - 4, x(0), bottom + 4)]
    for i, bar in enumerate(bars):
        y = top + LINE * (i + 0.5)
        body += [
            _text(left - 10, y + 4, bar.name, "end"),
            _line("line", x(bar.low), y, x(bar.high), y),
            _line("line", x(bar.low), y - 4, x(bar.low), y + 4),
            _line("line", x(bar.high), y - 4, x(bar.high), y + 4),
            f'<circle class="{"mark" if bar.strong else "hollow"}" cx="{x(bar.centre):.1f}" cy="{y:.1f}" r="5"/>',
            _text(right + 14, y + 4, f"{bar.centre:+.1f} [{bar.low:+.1f}, {bar.high:+.1f}]"),
        ]
    body += [_text(x(t), bottom + 18, f"{t:g}", "middle", "quiet") for t in marks]
    body.append(_text((left + right) / 2, bottom + 37, unit, "middle", "quiet"))
    return _svg(bottom + 46, title, body)


def shares(title: str, groups: Sequence[tuple[str, Sequence[Share]]]) -> str:
    """Shares of one as bars with whiskers for their intervals, grouped by name."""
    left, right, line, y = 150.0, float(WIDTH - VALUES), 22.0, 4.0
    body: list[str] = []
    for name, parts in groups:
        body.append(_text(0, y + 14, name))
        y += 24
        for part in parts:
            middle, span = y + line / 2, right - left
            body += [
                _text(left - 10, middle + 4, part.name, "end"),
                f'<rect class="soft" x="{left}" y="{y + 4:.1f}" width="{span}" height="{line - 8}"/>',
                f'<rect class="mark" x="{left}" y="{y + 4:.1f}" width="{max(0.5, span * part.value):.1f}" '
                f'height="{line - 8}"/>',
            ]
            text = f"{100 * part.value:.0f} %"
            if part.low is not None and part.high is not None:
                start, end = left + span * part.low, left + span * part.high
                body += [_line("axis", start, middle, end, middle)]
                body += [_line("axis", at, middle - 4, at, middle + 4) for at in (start, end)]
                text += f" [{100 * part.low:.0f}, {100 * part.high:.0f}]"
            body.append(_text(right + 14, middle + 4, text))
            y += line
        y += 14
    return _svg(y, title, body)


def scatter(title: str, points: Sequence[Point], x_name: str, y_name: str) -> str:
    """Points with the Pareto front as a line, its points named; every point says its name when asked."""
    left, right, top, bottom = 52.0, float(WIDTH - 20), 26.0, 320.0
    xs, ys = [p.x for p in points], [p.y for p in points]
    x_low, x_high = 0.0, max(xs) * 1.08 or 1.0
    pad = 0.12 * (max(ys) - min(ys) or 1.0)
    y_low, y_high = min(ys) - pad, max(ys) + pad

    def x(value: float) -> float:
        return left + (right - left) * (value - x_low) / (x_high - x_low)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - y_low) / (y_high - y_low)

    body = [_line("rule", left, y(t), right, y(t)) for t in ticks(y_low, y_high)]
    body += [_line("axis", left, bottom, right, bottom)]
    body += [_text(x(t), bottom + 18, f"{t:g}", "middle", "quiet") for t in ticks(x_low, x_high)]
    body += [_text(left - 8, y(t) + 4, f"{t:g}", "end", "quiet") for t in ticks(y_low, y_high)]
    front = sorted(pareto(points), key=lambda p: (p.x, p.y))
    if len(front) > 1:
        steps = [(front[0].x, front[0].y)]
        for p in front[1:]:
            steps += [(p.x, steps[-1][1]), (p.x, p.y)]
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in steps)
        body.append(f'<polyline class="line" points="{path}"/>')
    for p in sorted(points, key=lambda p: p in front):
        kind, size = ("mark", 6) if p in front else ("hollow", 5)
        said = escape(f"{p.name}: {p.x:.1f} {x_name}, {p.y:.1f}")
        place = f'cx="{x(p.x):.1f}" cy="{y(p.y):.1f}" r="{size}"'
        body.append(f'<circle class="{kind}" {place}><title>{said}</title></circle>')
    body += _labels([(x(p.x), y(p.y), p.name) for p in front], left, right)
    body += [_text((left + right) / 2, bottom + 38, x_name, "middle", "quiet"), _text(0, 12, y_name, "start", "quiet")]
    return _svg(bottom + 46, title, body)


def _labels(places: Sequence[tuple[float, float, str]], left: float, right: float) -> list[str]:
    """Names beside their points, on the side with more room, moved up where they would lie on another."""
    out: list[str] = []
    taken: list[tuple[float, float, float]] = []  # left edge, right edge, height
    for x, y, name in places:
        width, ends = CHARACTER * len(name), x > (left + right) / 2
        start = x - 10 - width if ends else x + 10
        height = y - 9
        while any(start < b and start + width > a and abs(height - h) < 15 for a, b, h in taken):
            height -= 15
        taken.append((start, start + width, height))
        out.append(_text(x - 10 if ends else x + 10, height, name, "end" if ends else "start"))
    return out


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: none has at most its x and more y, or less x and at least its y."""
    return [p for p in points if not any((q.x <= p.x and q.y > p.y) or (q.x < p.x and q.y >= p.y) for q in points)]
