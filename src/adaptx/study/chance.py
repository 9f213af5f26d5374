"""The score of a system that has learned nothing: the majority answer, or a guess. Knows examples and metrics only."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from adaptx.data.examples import Example
from adaptx.metrics import METRICS
from adaptx.registry import Task


def chance_level(task: Task, examples: Sequence[Example]) -> float | None:
    """The leading metric of the constant answer that a collapsed run gives; None where there is no such answer.

    Classification and choice: the most frequent label (choice: at least a uniform guess). Tagging: the most frequent
    tag everywhere. Span questions: no answer. Retrieval: one over the number of candidates. Masked language modelling
    has none: its perplexity is bounded by the vocabulary.
    """
    if not examples or task.kind == "mlm":
        return None
    metric = METRICS[task.metrics[0]]
    if task.kind == "retrieval":
        return 1.0 / len(examples)
    gold: list[Any]
    if task.kind == "tagging":
        gold = [getattr(e, "tags", None) or () for e in examples]
        top = Counter(tag for tags in gold for tag in tags).most_common(1)[0][0]
        return float(metric.score([(top,) * len(tags) for tags in gold], gold))
    if task.kind == "span_qa":
        gold = [[text for text, _ in getattr(e, "answers", ())] for e in examples]
        return float(metric.score([""] * len(gold), gold))
    gold = [getattr(e, "label", None) for e in examples]
    most = Counter(gold).most_common(1)[0][0]
    level = float(metric.score([most] * len(gold), gold))
    if task.kind == "multiple_choice":
        level = max(level, sum(1 / len(getattr(e, "choices", (0, 0))) for e in examples) / len(examples))
    return level


def collapsed(score: float, level: float | None) -> bool:
    """Whether a score is not above what a constant answer gets (equality within rounding counts as collapsed)."""
    return level is not None and score <= level + 1e-9
