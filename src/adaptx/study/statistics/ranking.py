"""How far a choice of system can be trusted: stability of rankings, selection on English, regret. Knows arrays only."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def kendall_between_seeds(scores: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Mean, least and greatest Kendall tau-b between the rankings that any two seeds give; scores [seeds, systems].

    1: the same ranking from every seed, 0: unrelated. None with fewer than two seeds or systems, or where all systems
    tie. Source: Kendall 1945 (tau-b, for ties).
    """
    if scores.shape[0] < 2 or scores.shape[1] < 2:
        return None
    found = [float(stats.kendalltau(a, b).statistic) for a, b in combinations(scores, 2)]
    known = [t for t in found if np.isfinite(t)]
    return (float(np.mean(known)), min(known), max(known)) if known else None


@dataclass(frozen=True)
class Selection:
    """`chosen` and `oracle` index systems; `score` is what choosing on English gives on the target, `best` the most
    that any system gives, `gap` their difference."""

    chosen: int
    oracle: int
    score: float
    best: float

    @property
    def gap(self) -> float:
        """What choosing lost against the best."""
        return self.best - self.score


def english_selected(english_dev: Sequence[float], target_test: Sequence[float]) -> Selection:
    """The target score of the system with the best English dev score, and of the one with the best target score.

    The oracle has seen the test set: it is a bound, not a result. The first of equals is taken. Source: Keung et al.
    2020, "Don't Use English Dev", who choose checkpoints so; here systems are chosen.
    """
    chosen, oracle = int(np.argmax(english_dev)), int(np.argmax(target_test))
    return Selection(chosen, oracle, float(target_test[chosen]), float(target_test[oracle]))


def regret_at(ordering: Sequence[str], scores: dict[str, float], k: int) -> float:
    """What is lost by trying only the first `k` sources of an ordering: the best score of all minus the best of those.

    Sources without a score are passed over. 0: the best source is among them. Source: Lin et al. 2019 (LangRank) rank
    transfer languages; regret is the loss of that choice.
    """
    known = [source for source in ordering if source in scores]
    return max(scores.values()) - max(scores[s] for s in known[:k])


def random_regret_at(scores: dict[str, float], k: int) -> float:
    """The expectation of `regret_at` over all orderings: what trying any k of the n sources loses.

    Of the C(n, k) choices, C(n - 1 - i, k - 1) have the i-th best source (from 0) as their best one.
    """
    falling, n = sorted(scores.values(), reverse=True), len(scores)
    best = sum(value * comb(n - 1 - i, k - 1) for i, value in enumerate(falling)) / comb(n, k)
    return falling[0] - best
