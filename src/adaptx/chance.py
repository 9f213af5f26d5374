"""The score of a system that has learned nothing: the majority answer, or a guess. Knows examples and metrics only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptx.data.examples import Example
from adaptx.metrics import METRICS
from adaptx.registry import Task

OUTSIDE = "O"


@dataclass(frozen=True)
class Chance:
    """The score `level` of a constant answer by the metric called `metric`."""

    metric: str
    level: float

    def collapsed(self, metrics: Mapping[str, float]) -> bool:
        """Whether scores are not above the constant answer's (equality within rounding counts as collapsed)."""
        return self.metric in metrics and metrics[self.metric] <= self.level + 1e-9


def chance_level(task: Task, examples: Sequence[Example]) -> Chance | None:
    """What the constant answer of a collapsed run scores; None where there is no such answer.

    By the leading metric. Classification and choice: the most frequent label (choice: at least a uniform guess).
    Tagging: the most frequent tag everywhere; by accuracy where that tag is not "O", because the F1 of bare tags takes
    a sentence of equal tags for one long entity and gives nothing. Span questions: no answer. Retrieval: one over the
    number of candidates. Masked language modelling has none: its perplexity is bounded by the vocabulary.
    """
    if not examples or task.kind == "mlm":
        return None
    metric = METRICS[task.metrics[0]]
    if task.kind == "retrieval":
        return Chance(metric.name, 1.0 / len(examples))
    gold: list[Any]
    if task.kind == "tagging":
        gold = [getattr(e, "tags", None) or () for e in examples]
        top = Counter(tag for tags in gold for tag in tags).most_common(1)[0][0]
        if top != OUTSIDE and "tag_accuracy" in task.metrics:
            metric = METRICS["tag_accuracy"]
        return Chance(metric.name, float(metric.score([(top,) * len(tags) for tags in gold], gold)))
    if task.kind == "span_qa":
        gold = [[text for text, _ in getattr(e, "answers", ())] for e in examples]
        return Chance(metric.name, float(metric.score([""] * len(gold), gold)))
    gold = [getattr(e, "label", None) for e in examples]
    most = Counter(gold).most_common(1)[0][0]
    level = float(metric.score([most] * len(gold), gold))
    if task.kind == "multiple_choice":
        level = max(level, sum(1 / len(getattr(e, "choices", (0, 0))) for e in examples) / len(examples))
    return Chance(metric.name, level)
