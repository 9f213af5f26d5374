"""From summed statistics [..., k] to scores [...].

Every function here works on the last axis, so one call reduces a single sum [k] or all the sums of a bootstrap
[resamples, k]. An empty denominator gives 0.0. This file knows no predictions.
"""

import numpy as np

from adaptx.metrics.metric import Stats

LARGEST_EXPONENT = float(np.log(np.finfo(np.float64).max))


def ratio(numerator: Stats, denominator: Stats) -> Stats:
    """Elementwise `numerator / denominator`, 0.0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def mean(sums: Stats) -> Stats:
    """Columns (sum of values, number of values) -> their mean."""
    return ratio(sums[..., 0], sums[..., 1])


def precision(sums: Stats) -> Stats:
    """Columns (true positives, predicted, gold) -> share of the predicted that is right."""
    return ratio(sums[..., 0], sums[..., 1])


def recall(sums: Stats) -> Stats:
    """Columns (true positives, predicted, gold) -> share of the gold that was found."""
    return ratio(sums[..., 0], sums[..., 2])


def f1(sums: Stats) -> Stats:
    """Columns (true positives, predicted, gold) -> harmonic mean of precision and recall.

    The operations are in seqeval's order, so that equal counts give bit-equal scores.
    """
    p, r = precision(sums), recall(sums)
    return ratio(2.0 * p * r, p + r)


def macro_average_f1(sums: Stats) -> Stats:
    """Columns of (true positives, predicted, gold) for one label after the other -> unweighted mean of their F1."""
    per_label = f1(sums.reshape(*sums.shape[:-1], -1, 3))
    return np.asarray(per_label.mean(axis=-1))


def perplexity(sums: Stats) -> Stats:
    """Columns (negative log likelihood in nats, tokens) -> exp of their quotient, from 1 upwards; 0.0 without tokens.

    Capped at the largest finite number: percentiles between infinities would be NaN.
    """
    exponent = np.minimum(ratio(sums[..., 0], sums[..., 1]), LARGEST_EXPONENT)
    return np.where(sums[..., 1] != 0, np.exp(exponent), 0.0)
