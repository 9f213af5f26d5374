"""Summaries of raw values, and power laws through points. Knows no measurement."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a `share` of the sorted values lies, linear between neighbours."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def summary(values: Sequence[float]) -> dict[str, float | int | None]:
    """n, median, p90, mean and sample standard deviation (None for a single value)."""
    return {
        "n": len(values),
        "median": statistics.median(values),
        "p90": quantile(values, 0.9),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
    }


@dataclass(frozen=True)
class Power:
    """y = scale * x ** exponent, and the share of log y's variance that it explains."""

    exponent: float
    scale: float
    r2: float

    def __call__(self, x: float) -> float:
        return float(self.scale * x**self.exponent)


def power_law(points: Sequence[tuple[float, float]]) -> Power | None:
    """The least-squares line through (log x, log y); None with fewer than three different x or values not above 0."""
    if len({x for x, _ in points}) < 3 or any(x <= 0 or y <= 0 for x, y in points):
        return None
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    slope, intercept = statistics.linear_regression(xs, ys)
    left = sum((y - intercept - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    spread = sum((y - statistics.fmean(ys)) ** 2 for y in ys)
    return Power(slope, math.exp(intercept), 1 - left / spread if spread else 1.0)
