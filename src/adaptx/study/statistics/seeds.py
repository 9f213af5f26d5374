"""What seeds say about a score: mean, standard deviation and Student's interval. Knows arrays only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Summary:
    """`n` scores: `mean`, `sd` (n - 1 in the denominator; None for one) and the interval `low`..`high` of the mean."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


def summarise(scores: Sequence[float], level: float = 0.95) -> Summary:
    """Mean over seeds with its t interval, mean +- t(n - 1) sd / sqrt(n).

    One seed has no interval. The interval is about training noise on this test set, not about other test items.
    Source: Student 1908; as advised for fine-tuning by Dodge et al. 2020, section 3.
    """
    values = np.asarray(scores, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Summary(len(values), mean, None, None, None)
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * sd / len(values) ** 0.5
    return Summary(len(values), mean, sd, mean - half, mean + half)
