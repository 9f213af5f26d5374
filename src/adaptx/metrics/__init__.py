"""Scores of predictions against references, their intervals and their paired tests.

The package knows no model, no tokenizer and no data format: it sees labels, tags, strings and numbers. Importing it
loads numpy only; seqeval and evaluate are loaded by the functions that use them.
"""

from adaptx.metrics.align import align
from adaptx.metrics.bootstrap import PairedResult, bootstrap_interval, paired_bootstrap
from adaptx.metrics.hf import as_evaluate_metric
from adaptx.metrics.labels import macro_f1
from adaptx.metrics.metric import Metric, Reduce, Stats
from adaptx.metrics.table import METRICS

__all__ = [
    "METRICS",
    "Metric",
    "PairedResult",
    "Reduce",
    "Stats",
    "align",
    "as_evaluate_metric",
    "bootstrap_interval",
    "macro_f1",
    "paired_bootstrap",
]
