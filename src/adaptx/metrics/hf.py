"""Our metrics as `evaluate.Metric` objects, for code that is written against that library.

This file computes no scores: it wraps `METRICS`. It needs no network and leaves nothing on disk.
"""

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from adaptx.errors import unknown_name
from adaptx.metrics.align import require_pairs
from adaptx.metrics.table import METRICS

if TYPE_CHECKING:
    from datasets import Features  # type: ignore[import-untyped, unused-ignore]
    from evaluate import Metric as EvaluateMetric  # type: ignore[import-untyped, unused-ignore]


def as_evaluate_metric(key: str) -> "EvaluateMetric":
    """The metric `key` of `METRICS` as an `evaluate.Metric`; `compute(predictions=, references=)` gives {name: score}.

    Also `add`, `add_batch` and `evaluate.combine` work. Examples are kept in memory. AX010 for an unknown key, AX050
    where predictions and references do not pair up, ValueError of `evaluate` where values have the wrong type.
    """
    if key not in METRICS:
        raise unknown_name("AX010", key, METRICS)
    import evaluate

    metric = METRICS[key]

    class Wrapped(evaluate.Metric):  # type: ignore[misc, unused-ignore]
        """Scores of adaptx behind the interface of evaluate."""

        def _info(self) -> evaluate.MetricInfo:
            text = f"\n\n{metric.stats.__doc__}"
            return evaluate.MetricInfo(description=text, citation="", inputs_description=text, features=_features(key))

        def add_batch(
            self, *, predictions: Sequence[Any] | None = None, references: Sequence[Any] | None = None, **other: Any
        ) -> None:
            """Add examples; AX050 where the lengths differ."""
            if predictions is not None and references is not None:
                require_pairs(predictions, references)
            super().add_batch(predictions=predictions, references=references, **other)

        def _compute(self, *, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
            return {metric.name: metric.score(predictions, references)}

    Wrapped.__name__ = key
    # evaluate makes a cache folder even for metrics in memory, and never uses it.
    with TemporaryDirectory() as unused:
        return Wrapped(keep_in_memory=True, cache_dir=unused)


def _features(key: str) -> "Features | list[Features]":
    from datasets import Features, Sequence, Value

    def pair(predictions: object, references: object) -> Features:
        return Features({"predictions": predictions, "references": references})

    text, number, texts = Value("string"), Value("int64"), Sequence(Value("string"))
    if key.startswith("squad_"):
        return pair(text, texts)
    if key.startswith("seqeval_") or key == "tag_accuracy":
        return pair(texts, texts)
    if key == "perplexity":
        return pair(Value("float64"), number)
    if key in ("choice_accuracy", "retrieval_accuracy"):
        return pair(number, number)
    return [pair(text, text), pair(number, number)]
