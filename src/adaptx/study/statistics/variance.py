"""How much of the variance of scores is due to what: source language, task, their interaction, seed, the rest.

Two estimates of the same model, and how sure they are. Knows arrays only.

The model: y_ijk = mu + source_i + task_j + (source x task)_ij + seed_k + residual_ijk, all effects random. `seed` is
what all systems of a seed have in common; what a single system varies from seed to seed is in `residual`. A grid with
one task (or one source) has neither that effect nor the interaction.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from adaptx.errors import AdaptxError

Floats = NDArray[np.float64]
T = TypeVar("T", float, Floats)
COMPONENTS = ("source", "task", "source x task", "seed", "residual")
SMALLEST_RESIDUAL = 1e-9  # of the scores' variance: without a residual the likelihood has no bound
STARTS = ((0.2, 0.2), (0.01, 1.0))  # (components, residual) that the search begins from, as shares


@dataclass(frozen=True)
class Decomposition:
    """Variance components by those names of `COMPONENTS` that the grid has, not below zero; `raw` before that;
    `squares` and `df`: each sum of squares and its degrees of freedom; `shape`: sources, tasks, seeds."""

    components: dict[str, float]
    raw: dict[str, float]
    squares: dict[str, float]
    df: dict[str, int]
    shape: tuple[int, int, int]


def shares(components: dict[str, float]) -> dict[str, float]:
    """Components as shares of their sum; all zero where nothing varies."""
    total = sum(components.values())
    return {k: v / total if total > 0 else 0.0 for k, v in components.items()}


def names_of(shape: tuple[int, ...]) -> tuple[str, ...]:
    """The components of a grid [sources, tasks, seeds]. AX050 below two seeds or two systems."""
    i, j, k = shape
    if k < 2 or max(i, j) < 2:
        raise AdaptxError("AX050", shape, "A decomposition needs two systems and two seeds or more.")
    if min(i, j) > 1:
        return COMPONENTS
    return ("source" if j == 1 else "task", "seed", "residual")


def anova(scores: Floats) -> Decomposition:
    """Variance components of scores [I sources, J tasks, K seeds] by the method of moments.

    Each mean square is set equal to its expectation, and negative estimates are truncated at zero (as their `raw` value
    shows). Unbiased before truncation. AX050 for missing scores or too small a grid. Source: Searle, Casella &
    McCulloch 1992, chapter 4; Henderson 1953, method 1.
    """
    if scores.ndim != 3 or not np.isfinite(scores).all():
        raise AdaptxError("AX050", scores.shape, "The analysis of variance needs a full grid.")
    names = names_of(scores.shape)
    i, j, k = scores.shape
    mean = scores.mean()
    a, b, s = scores.mean(axis=(1, 2)) - mean, scores.mean(axis=(0, 2)) - mean, scores.mean(axis=(0, 1)) - mean
    ab = scores.mean(axis=2) - mean - a[:, None] - b[None, :]
    rest = scores - mean - a[:, None, None] - b[None, :, None] - ab[:, :, None] - s[None, None, :]
    df = dict(zip(COMPONENTS, (i - 1, j - 1, (i - 1) * (j - 1), k - 1, (i * j - 1) * (k - 1)), strict=True))
    sums = (j * k * (a**2).sum(), i * k * (b**2).sum(), k * (ab**2).sum(), i * j * (s**2).sum(), (rest**2).sum())
    squares = {n: float(v) for n, v in zip(COMPONENTS, sums, strict=True) if n in names}
    raw = _solved({n: v / df[n] for n, v in squares.items()}, (i, j, k))
    return Decomposition({n: max(0.0, v) for n, v in raw.items()}, raw, squares, {n: df[n] for n in names}, (i, j, k))


def _solved(mean_squares: dict[str, T], shape: tuple[int, int, int]) -> dict[str, T]:
    """The components whose expected mean squares are these."""
    i, j, k = shape
    e = mean_squares["residual"]
    within = mean_squares.get("source x task", e)  # what the mean squares of source and task contain besides
    repeats = {"source": j * k, "task": i * k, "source x task": k, "seed": i * j}
    out: dict[str, T] = {}
    for name, square in mean_squares.items():
        above = within if name in ("source", "task") else e
        out[name] = square if name == "residual" else (square - above) / repeats[name]
    return out


def share_intervals(
    found: Decomposition, *, level: float = 0.95, draws: int = 4000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Generalised confidence intervals of the shares: how much a few sources, tasks and seeds can tell.

    Each sum of squares over its expected mean square is chi-squared with its degrees of freedom; drawing those and
    solving for the components, not below zero, gives a distribution of the shares, of which the central `level` is
    taken. Assumes normal effects. Deterministic in `seed`. Source: Weerahandi 1993; for two crossed random factors
    Burdick, Borror & Montgomery 2005, chapter 3.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[str, Floats] = {n: v / rng.chisquare(found.df[n], draws) for n, v in found.squares.items()}
    components = {n: np.maximum(0.0, v) for n, v in _solved(drawn, found.shape).items()}
    total = np.sum(list(components.values()), axis=0)
    out = {}
    for name, value in components.items():
        part = np.divide(value, total, out=np.zeros(draws), where=total > 0)
        low, high = np.quantile(part, [(1 - level) / 2, (1 + level) / 2])
        out[name] = (float(low), float(high))
    return out


def mixed_model(
    scores: Floats, source: NDArray[np.int64], task: NDArray[np.int64], seed: NDArray[np.int64]
) -> dict[str, float]:
    """The same components by restricted maximum likelihood, for grids with holes: scores [n] and their factor levels.

    Minimises log|V| + log(1'inv(V)1) + y'Py over components not below zero, with the exact gradient tr(PK) - y'PKPy
    (Searle et al. 1992, chapter 6). Equals `anova` on a full grid whose estimates are all positive. The search is our
    own because statsmodels' MixedLM works with square roots and stops short of the optimum where a component is zero,
    which with a few levels is the usual case. AX050 as for `anova`.
    """
    levels = {"source": source, "task": task, "seed": seed}
    names = names_of(tuple(len(np.unique(v)) for v in levels.values()))
    levels["source x task"] = source * (int(task.max()) + 1) + task
    scale = float(np.std(scores))
    if scale == 0:
        return dict.fromkeys(names, 0.0)
    y = (scores - scores.mean()) / scale
    same = [np.equal.outer(levels[n], levels[n]).astype(np.float64) for n in names[:-1]] + [np.eye(len(y))]
    bounds = [(0.0, None)] * len(same[:-1]) + [(SMALLEST_RESIDUAL, None)]
    fits = [
        optimize.minimize(
            _likelihood,
            [start] * len(same[:-1]) + [rest],
            (y, same),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-7, "maxls": 60},
        )
        for start, rest in STARTS
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    return {n: float(v) * scale**2 for n, v in zip(names, best.x, strict=True)}


def _likelihood(components: Floats, y: Floats, same: list[Floats]) -> tuple[float, Floats]:
    """-2 log restricted likelihood up to a constant, and its gradient; `same`: K of each component, V = sum of c K."""
    total = np.sum([c * k for c, k in zip(components, same, strict=True)], axis=0)
    factor = linalg.cho_factor(total)
    inverse = linalg.cho_solve(factor, np.eye(len(y)))
    row = inverse.sum(axis=1)
    projected = inverse - np.outer(row, row) / row.sum()
    weighted = projected @ y
    value = 2 * np.log(np.diag(factor[0])).sum() + np.log(row.sum()) + y @ weighted
    gradient = [(projected * k).sum() - weighted @ k @ weighted for k in same]
    return float(value), np.array(gradient)
