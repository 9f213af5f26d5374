"""Whether two systems differ beyond the choice of test items and of seeds. Knows statistics tables and reductions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from adaptx.errors import AdaptxError
from adaptx.metrics.metric import Reduce, Stats

CHUNK_BYTES = 48_000_000


@dataclass(frozen=True)
class Difference:
    """System a minus system b, mean over seeds: `delta`, its standard error, Satterthwaite's degrees of freedom,
    the interval `low`..`high` and the two-sided `p_value`. `seeds`: how many; with one, seeds are not accounted for."""

    delta: float
    error: float
    df: float
    low: float
    high: float
    p_value: float
    seeds: int


def crossed_bootstrap(
    stats_a: Stats, stats_b: Stats, reduce: Reduce, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Difference:
    """The paired difference of two systems on the same items and seeds, with the error of both ways of sampling.

    `stats_a`, `stats_b`: [S, n, k], seeds by items by statistics. Items are resampled once for all seeds and both
    systems (paired bootstrap, Koehn 2004). The variance of the mean over seeds is then that of a two-way layout with
    crossed random effects: items + seeds - interaction, each read off the same resamples (Cornfield & Tukey 1956;
    Owen 2007 shows that resampling rows and columns without the correction counts the interaction twice). Seeds enter
    by the sample variance of the per-seed differences: resampling two or three seeds would understate it by
    (S - 1) / S. The reference is Student's t with the degrees of freedom of Satterthwaite 1946.

    Equal systems give p = 1. AX050 where shapes differ.
    """
    if stats_a.shape != stats_b.shape or stats_a.ndim != 3:
        given = f"{stats_a.shape} of one system, {stats_b.shape} of the other"
        raise AdaptxError("AX050", given, "A crossed test needs both systems on the same seeds and examples.")
    n_seeds, n, k = stats_a.shape
    per_seed = reduce(stats_a.sum(axis=1)) - reduce(stats_b.sum(axis=1))
    delta = float(per_seed.mean())
    both = np.concatenate([stats_a, stats_b], axis=2).transpose(1, 0, 2).reshape(n, n_seeds * 2 * k)
    drawn = np.concatenate([_differences(sums, n_seeds, k, reduce) for sums in _sums(both, resamples, seed)])
    by_items = float(drawn.mean(axis=1).var(ddof=1))
    total, df = by_items, float(n - 1)
    if n_seeds > 1:
        by_seeds = float(per_seed.var(ddof=1)) / n_seeds
        own = drawn - drawn.mean(axis=1, keepdims=True)
        shared = float(own.var(axis=0, ddof=1).sum()) / (n_seeds * (n_seeds - 1))
        between = max(0.0, by_seeds - shared)
        total = by_items + between
        if total > 0:
            df = _satterthwaite((between, n_seeds - 1), (by_items, n - 1))
    error = total**0.5
    if error == 0:
        return Difference(delta, 0.0, df, delta, delta, 1.0 if delta == 0 else 0.0, n_seeds)
    half = float(stats.t.ppf((1 + level) / 2, df)) * error
    p_value = float(2 * stats.t.sf(abs(delta) / error, df))
    return Difference(delta, error, df, delta - half, delta + half, p_value, n_seeds)


def _satterthwaite(*parts: tuple[float, int]) -> float:
    """Degrees of freedom of a sum of variances with their own."""
    total = sum(v for v, _ in parts)
    return max(1.0, total**2 / sum(v**2 / d for v, d in parts if d > 0 and v > 0))


def _differences(sums: Stats, n_seeds: int, k: int, reduce: Reduce) -> Stats:
    """[B, S * 2k] sums -> [B, S] differences."""
    apart = sums.reshape(len(sums), n_seeds, 2, k)
    return np.asarray(reduce(apart[:, :, 0]) - reduce(apart[:, :, 1]))


def _sums(table: Stats, resamples: int, seed: int) -> Iterator[Stats]:
    """Column sums [B, columns] of resampled rows, in chunks of bounded memory. Deterministic in `seed`."""
    n = len(table)
    rng, uniform = np.random.default_rng(seed), np.full(n, 1.0 / n)
    chunk = max(1, CHUNK_BYTES // (16 * n))
    for start in range(0, resamples, chunk):
        yield rng.multinomial(n, uniform, size=min(chunk, resamples - start)).astype(np.float64) @ table
