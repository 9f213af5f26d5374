"""How far a score would move on another sample of examples: bootstrap intervals and paired bootstrap tests.

This file knows statistics tables and reductions, no metric and no predictions. It measures the choice of test
examples only; variance over training seeds is another matter.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adaptx.errors import AdaptxError
from adaptx.metrics.metric import Reduce, Stats

# Resampling weights are drawn as int64 and multiplied as float64: 16 bytes for each example and resample.
WEIGHTS_BYTES = 48_000_000
BYTES_PER_WEIGHT = 16


@dataclass(frozen=True)
class PairedResult:
    """System a minus system b: the observed `delta`, its interval `low`..`high`, and the two-sided `p_value`."""

    delta: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(
    stats: Stats, reduce: Reduce, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of `reduce(stats.sum(axis=0))`, resampling examples.

    `stats`: [n, k]; with n = 0 both ends are the score of nothing, with n = 1 they are the score. Deterministic in
    `seed`; about 50 MB up to n = 10,000. AX070 where `resamples` or `level` is out of range. Source: Efron &
    Tibshirani 1993, chapter 13; Koehn 2004 for metrics of a corpus.
    """
    low, high = _interval(_resampled(stats, reduce, resamples, seed), level)
    return low, high


def paired_bootstrap(
    stats_a: Stats, stats_b: Stats, reduce: Reduce, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> PairedResult:
    """Whether system a differs from system b on the same n examples, both scored on the same resamples.

    `stats_a`, `stats_b`: [n, k], row i of both being example i. The p-value is twice the smaller share of resamples
    whose difference is on either side of zero, ties counting for both, with one added to count and total (Davison &
    Hinkley 1997, section 4.2), at most 1: it goes with the interval, and the smallest possible is
    2 / (resamples + 1). AX050 where the numbers of examples differ, AX070 where `resamples` or `level` is out of
    range. Source: Koehn 2004, section 4.
    """
    if len(stats_a) != len(stats_b):
        given = f"{len(stats_a)} examples of one system, {len(stats_b)} of the other"
        raise AdaptxError("AX050", given, "A paired test needs both systems on the same examples.")
    k = stats_a.shape[1]

    def difference(sums: Stats) -> Stats:
        return reduce(sums[..., :k]) - reduce(sums[..., k:])

    both = np.concatenate([stats_a, stats_b], axis=1)
    deltas = _resampled(both, difference, resamples, seed)
    low, high = _interval(deltas, level)
    fewer = min(int((deltas <= 0).sum()), int((deltas >= 0).sum()))
    p_value = min(1.0, 2 * (fewer + 1) / (resamples + 1))
    return PairedResult(float(difference(both.sum(axis=0))), low, high, p_value)


def _resampled(stats: Stats, reduce: Callable[[Stats], Stats], resamples: int, seed: int) -> Stats:
    if resamples < 1:
        raise AdaptxError("AX070", f"resamples={resamples}", "There must be at least one resample.")
    n, k = stats.shape
    if n == 0:
        return np.full(resamples, reduce(np.zeros(k)))
    rng = np.random.default_rng(seed)
    uniform = np.full(n, 1.0 / n)
    chunk = max(1, WEIGHTS_BYTES // (BYTES_PER_WEIGHT * n))
    sums = np.empty((resamples, k))
    for start in range(0, resamples, chunk):
        stop = min(start + chunk, resamples)
        sums[start:stop] = rng.multinomial(n, uniform, size=stop - start) @ stats
    return reduce(sums)


def _interval(scores: Stats, level: float) -> tuple[float, float]:
    if not 0.0 < level < 1.0:
        raise AdaptxError("AX070", f"level={level}", "A confidence level lies between 0 and 1, for example 0.95.")
    low, high = np.quantile(scores, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
