"""How much of the variance of scores is due to what: source language, task, their interaction, seed, the rest.

Two estimates of the same model. Knows arrays only.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptx.errors import AdaptxError

COMPONENTS = ("source", "task", "source x task", "seed", "residual")


@dataclass(frozen=True)
class Decomposition:
    """Variance components by the names of `COMPONENTS`, not below zero; `raw` before that; `df` of each mean square."""

    components: dict[str, float]
    raw: dict[str, float]
    df: dict[str, int]

    @property
    def shares(self) -> dict[str, float]:
        """Components as shares of their sum; all zero where nothing varies."""
        total = sum(self.components.values())
        return {k: v / total if total > 0 else 0.0 for k, v in self.components.items()}


def anova(scores: NDArray[np.float64]) -> Decomposition:
    """Variance components of scores [I sources, J tasks, K seeds] by the method of moments.

    y_ijk = mu + source_i + task_j + (source x task)_ij + seed_k + residual_ijk, all effects random; each mean square is
    set equal to its expectation, and negative estimates are truncated at zero (as their `raw` value shows). Unbiased
    before truncation. AX050 for fewer than two of any factor or missing scores. Source: Searle, Casella & McCulloch
    1992, chapter 4; Henderson 1953, method 1.
    """
    if scores.ndim != 3 or min(scores.shape) < 2 or not np.isfinite(scores).all():
        raise AdaptxError("AX050", scores.shape, "The analysis of variance needs a full grid, two or more of each.")
    i, j, k = scores.shape
    mean = scores.mean()
    a, b, s = scores.mean(axis=(1, 2)) - mean, scores.mean(axis=(0, 2)) - mean, scores.mean(axis=(0, 1)) - mean
    ab = scores.mean(axis=2) - mean - a[:, None] - b[None, :]
    rest = scores - mean - a[:, None, None] - b[None, :, None] - ab[:, :, None] - s[None, None, :]
    df = dict(zip(COMPONENTS, (i - 1, j - 1, (i - 1) * (j - 1), k - 1, (i * j - 1) * (k - 1)), strict=True))
    squares = (j * k * (a**2).sum(), i * k * (b**2).sum(), k * (ab**2).sum(), i * j * (s**2).sum(), (rest**2).sum())
    ms_a, ms_b, ms_ab, ms_s, ms_e = (float(q) / d for q, d in zip(squares, df.values(), strict=True))
    found = ((ms_a - ms_ab) / (j * k), (ms_b - ms_ab) / (i * k), (ms_ab - ms_e) / k, (ms_s - ms_e) / (i * j), ms_e)
    raw = dict(zip(COMPONENTS, found, strict=True))
    return Decomposition({n: max(0.0, v) for n, v in raw.items()}, raw, df)


def mixed_model(
    scores: NDArray[np.float64], source: NDArray[np.int64], task: NDArray[np.int64], seed: NDArray[np.int64]
) -> dict[str, float] | None:
    """The same components by restricted maximum likelihood, for grids with holes: scores [n] and their factor levels.

    Agrees with `anova` on a full grid whose estimates are all positive (Searle et al. 1992, section 4.8). None where
    the fit does not converge. Fitted by statsmodels' MixedLM with crossed variance components.
    """
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    scale = float(np.std(scores)) or 1.0
    table = pd.DataFrame({"y": (scores - scores.mean()) / scale, "source": source, "task": task, "seed": seed})
    table["cell"] = table["source"].astype(str) + "/" + table["task"].astype(str)
    names = {"source": "source", "task": "task", "cell": "source x task", "seed": "seed"}
    formula = {column: f"0 + C({column})" for column in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a component at its bound of zero is an answer here, not a fault
        model = MixedLM.from_formula("y ~ 1", table, groups=np.ones(len(table)), vc_formula=formula)
        try:
            fit = model.fit(reml=True)
        except (np.linalg.LinAlgError, ValueError):
            return None
    if not fit.converged:
        return None
    found = dict(zip(model.exog_vc.names, fit.vcomp, strict=True))
    out = {name: float(found[column]) * scale**2 for column, name in names.items()}
    return {**out, "residual": float(fit.scale) * scale**2}
