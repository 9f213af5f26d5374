"""Statistics of one label, index or likelihood per example: accuracy, F1 of one label or many, perplexity.

This file knows no task; choice and retrieval are accuracies of indices here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from adaptx.errors import AdaptxError
from adaptx.metrics.align import require_pairs
from adaptx.metrics.metric import Metric, Stats
from adaptx.metrics.reductions import macro_average_f1

POSITIVE = "1"


def accuracy_stats(predictions: Sequence[Any], references: Sequence[Any]) -> Stats:
    """Labels or indices -> [n, 2]: right (0 or 1), and 1. AX050 where the lengths differ."""
    require_pairs(predictions, references)
    right = [float(p == r) for p, r in zip(predictions, references, strict=True)]
    return np.column_stack([np.array(right, dtype=np.float64), np.ones(len(right))])


def binary_f1_stats(predictions: Sequence[Any], references: Sequence[Any]) -> Stats:
    """Labels "0" and "1" (or 0 and 1) -> [n, 3]: true positive, predicted, gold, of "1". AX050 as above."""
    return _counts_per_label((POSITIVE,), predictions, references)


def macro_f1(labels: Sequence[str]) -> Metric:
    """Unweighted mean of the F1 of each of `labels`.

    Its statistics are [n, 3 * len(labels)]: true positive, predicted, gold for one label after the other. A label
    that occurs on neither side counts as F1 0.0; a label outside `labels` belongs to no class. Both are what
    scikit-learn does for `f1_score(..., labels=labels, average="macro", zero_division=0)`. AX010 for
    no labels or a label given twice.
    """
    known = tuple(labels)
    if not known or len(set(known)) != len(known):
        raise AdaptxError("AX010", known, "Macro F1 needs at least one label, and each label once.")

    def stats(predictions: Sequence[Any], references: Sequence[Any]) -> Stats:
        return _counts_per_label(known, predictions, references)

    return Metric("macro_f1", stats, macro_average_f1)


def likelihood_stats(predictions: Sequence[Any], references: Sequence[Any]) -> Stats:
    """Summed negative log likelihoods (nats) and token counts -> [n, 2]: both. AX050 where the lengths differ.

    A prediction may also be the pair of both, with None as reference: masked tokens are counted by who masks them.
    """
    require_pairs(predictions, references)
    if all(r is None for r in references):
        return np.asarray(predictions, dtype=np.float64).reshape(len(predictions), 2)
    return np.column_stack([np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)])


def _counts_per_label(labels: tuple[str, ...], predictions: Sequence[Any], references: Sequence[Any]) -> Stats:
    require_pairs(predictions, references)
    predicted = _one_hot(labels, predictions)
    gold = _one_hot(labels, references)
    return np.stack([predicted * gold, predicted, gold], axis=-1).reshape(len(predictions), 3 * len(labels))


def _one_hot(labels: tuple[str, ...], values: Sequence[Any]) -> Stats:
    column = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(values), len(labels)))
    for row, value in enumerate(values):
        if (i := column.get(str(value))) is not None:
            table[row, i] = 1.0
    return table
