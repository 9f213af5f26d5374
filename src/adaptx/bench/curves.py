"""How cost grows: families of measurements that differ in one size alone, their power laws, and a chart of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from adaptx.bench.spec import Spec
from adaptx.bench.statistics import Power, power_law
from adaptx.bench.summary import Group
from adaptx.study.charts import WIDTH, _line, _svg, _text

Value = Callable[[Group], float | None]


@dataclass(frozen=True)
class Axis:
    """A size that grows: `x` of a group, the fields of a spec that go with it, and what is read against it."""

    name: str
    unit: str
    x: Value
    fields: tuple[str, ...]
    values: dict[str, Value]


def _per_token(group: Group) -> float | None:
    rate = group.median("tokens_per_s")
    return 1000 / rate if rate else None


def _length(group: Group) -> float | None:
    text = group.spec.lengths or ""
    return float(text) if text.isdigit() else None


MEMORY: dict[str, Value] = {"peak memory in bytes": lambda g: g.median("memory", "peak_bytes")}
STEPS = (
    Axis(
        "batch tokens",
        "real tokens a step",
        lambda g: (g.median("workload", "tokens") or 0) / (g.median("workload", "steps") or 1),
        ("batch_tokens",),
        {"seconds a step": lambda g: g.median("steps", "median"), **MEMORY},
    ),
    Axis(
        "sequence length", "tokens a sequence", _length, ("lengths",), {"seconds a 1000 tokens": _per_token, **MEMORY}
    ),
    Axis(
        "model size",
        "weights in the encoder's layers",
        lambda g: g.median("parameters", "body"),
        ("shape", "backbone"),
        {"seconds a 1000 tokens": _per_token, **MEMORY},
    ),
)
SERVE = (
    Axis(
        "adapters",
        "adapters held ready",
        lambda g: g.median("serve", "adapters"),
        ("adapters",),
        {"weights in bytes": lambda g: g.median("serve", "weights_bytes")},
    ),
)


@dataclass(frozen=True)
class Series:
    """One method along one axis: points (x, y) by x, and the power law through them where there are three or more."""

    axis: str
    unit: str
    value: str
    label: str
    setting: str
    points: tuple[tuple[float, float], ...]
    fit: Power | None


def series(groups: Sequence[Group], axes: Sequence[Axis]) -> list[Series]:
    """Every family of at least three groups that differ along one axis alone."""
    out: list[Series] = []
    for axis in axes:
        families: dict[tuple[Spec, str], list[Group]] = {}
        for group in groups:
            if axis.x(group) is not None:
                rest = group.spec.model_copy(update=dict.fromkeys(axis.fields))
                families.setdefault((rest, group.machine), []).append(group)
        for (rest, machine), family in families.items():
            for name, value in axis.values.items():
                points = sorted({(x, y) for g in family if (x := axis.x(g)) and (y := value(g))})
                if len({x for x, _ in points}) >= 3:
                    setting = ", ".join(map(str, filter(None, (rest.shape, rest.lengths, rest.precision, machine))))
                    out.append(
                        Series(axis.name, axis.unit, name, rest.label, setting, tuple(points), power_law(points))
                    )
    return out


def chart(title: str, lines: Sequence[Series], x_name: str, y_name: str) -> str:
    """Lines of points on logarithmic axes, each named at its end with its exponent."""
    left, right, top, bottom = 70.0, WIDTH - 190.0, 26.0, 300.0
    xs = [x for s in lines for x, _ in s.points]
    ys = [y for s in lines for _, y in s.points]
    x, y = _scale(min(xs), max(xs), left, right), _scale(min(ys), max(ys), bottom, top)
    body = [_line("axis", left, bottom, right, bottom), _line("axis", left, bottom, left, top)]
    body += [_text(x(v), bottom + 16, _short(v), "middle", "quiet") for v in _marks(min(xs), max(xs))]
    body += [_text(left - 6, y(v) + 4, _short(v), "end", "quiet") for v in _marks(min(ys), max(ys))]
    ends = []
    for s in lines:
        places = [(x(a), y(b)) for a, b in s.points]
        joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        body.append(f'<polyline class="line" fill="none" points="{joined}"/>')
        for (a, b), (px, py) in zip(s.points, places, strict=True):
            name = escape(f"{s.label}: {_short(a)}, {_short(b)}")
            body.append(f'<circle class="mark" cx="{px:.1f}" cy="{py:.1f}" r="4"><title>{name}</title></circle>')
        power = f" ~ x^{s.fit.exponent:.2f}" if s.fit else ""
        ends.append((places[-1][1], f"{s.label}{power}"))
    at = -math.inf
    for height, name in sorted(ends):
        at = max(height + 4, at + 15)
        body.append(_text(right + 10, at, name))
    body += [_text((left + right) / 2, bottom + 36, x_name, "middle"), _text(left, top - 10, y_name)]
    return _svg(max(bottom + 46, at + 10), title, body)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Logarithmic, from `low` at `start` to `high` at `end`, with a little room at both ends."""
    a, b = math.log(low) - 0.08, math.log(high) + 0.08
    return lambda v: start + (end - start) * (math.log(v) - a) / (b - a)


def _marks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between the ends, powers alone where that is crowded."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [m * 10.0**p for p in powers for m in (1, 2, 5) if low * 0.93 <= m * 10.0**p <= high * 1.08]
    return fine if len(fine) <= 8 else [v for v in fine if f"{v:e}"[0] == "1"]


def _short(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def as_json(found: Sequence[Series]) -> list[dict[str, Any]]:
    """Points and exponents."""
    return [{**vars(s), "points": [list(p) for p in s.points], "fit": s.fit and vars(s.fit)} for s in found]
