"""What a metric is: a table of sufficient statistics, one row an example, and a reduction of its column sums.

Resampling examples then means weighting rows, so a bootstrap is a matrix product that never computes the metric
again. This file knows no particular metric.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stats = NDArray[np.float64]
Reduce = Callable[[Stats], Stats]


@dataclass(frozen=True)
class Metric:
    """A score that is a function of sums over examples.

    `name`: its key in result files. `stats`: predictions and references, n of each -> float64 [n, k]; raises AX050
    where they do not pair up. `reduce`: column sums [..., k] -> scores [...], in 0..1 unless the metric says
    otherwise, and 0.0 where a denominator is empty, never NaN.
    """

    name: str
    stats: Callable[[Sequence[Any], Sequence[Any]], Stats]
    reduce: Reduce
    higher_is_better: bool = True

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> float:
        """The metric over all examples; AX050 where predictions and references do not pair up."""
        return float(self.reduce(self.stats(predictions, references).sum(axis=0)))
