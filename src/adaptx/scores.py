"""Scores of predictions with their sufficient statistics and intervals. Knows metrics and tasks, no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptx.metrics import METRICS
from adaptx.metrics.bootstrap import bootstrap_interval
from adaptx.registry import Task


@dataclass(frozen=True)
class Score:
    """A metric over a test set: `value` in 0..1, 95 % bootstrap interval over examples, statistics of each."""

    name: str
    value: float
    ci95: tuple[float, float]
    stats: np.ndarray[Any, Any]


def score_all(task: Task, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """Every metric of the task by its name. Raises AX050 where lengths differ."""
    return {METRICS[key].name: METRICS[key].score(predictions, references) for key in task.metrics}


def score_with_interval(key: str, predictions: Sequence[Any], references: Sequence[Any]) -> Score:
    """One metric with its interval. Raises AX050 where lengths differ."""
    metric = METRICS[key]
    stats = metric.stats(predictions, references)
    value = float(metric.reduce(stats.sum(0)))
    return Score(metric.name, value, bootstrap_interval(stats, metric.reduce), stats)
