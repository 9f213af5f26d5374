"""The metrics by the key that task configurations use.

This file computes nothing. `macro_f1` is not here: it needs the labels of its task.
"""

from adaptx.metrics.labels import accuracy_stats, binary_f1_stats, likelihood_stats
from adaptx.metrics.metric import Metric
from adaptx.metrics.reductions import f1, mean, perplexity, precision, recall
from adaptx.metrics.squad import answer_f1_stats, exact_match_stats
from adaptx.metrics.tags import entity_stats, tag_accuracy_stats

METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", accuracy_stats, mean),
    "choice_accuracy": Metric("accuracy", accuracy_stats, mean),
    "retrieval_accuracy": Metric("accuracy", accuracy_stats, mean),
    "tag_accuracy": Metric("accuracy", tag_accuracy_stats, mean),
    "seqeval_f1": Metric("f1", entity_stats, f1),
    "seqeval_precision": Metric("precision", entity_stats, precision),
    "seqeval_recall": Metric("recall", entity_stats, recall),
    "squad_f1": Metric("f1", answer_f1_stats, mean),
    "squad_em": Metric("exact_match", exact_match_stats, mean),
    "binary_f1": Metric("f1", binary_f1_stats, f1),
    "perplexity": Metric("perplexity", likelihood_stats, perplexity, higher_is_better=False),
}
