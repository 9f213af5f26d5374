"""One label for a text or a pair of texts (NLI, paraphrase). Knows no language and no method."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from adaptx.backbones import Backbone
from adaptx.data.examples import Example, TextExample
from adaptx.data.tokenize import Text
from adaptx.engine.packing import Encoded, Features, Packed, collect
from adaptx.registry import Task
from adaptx.tasks import fixed_labels
from adaptx.tasks.heads import Classifier


def labels(task: Task, examples: Sequence[Example]) -> tuple[str, ...]:
    """The task's labels, or those of the examples."""
    return fixed_labels(task, [e.label for e in cast(Sequence[TextExample], examples) if e.label is not None])


def features(examples: Sequence[Example], text: Text, labels: tuple[str, ...], task: Task) -> Features:
    """One sequence an example, read at its first token."""
    rows = cast(Sequence[TextExample], examples)
    encoded = text.encode([e.text if e.pair is None else (e.text, e.pair) for e in rows])
    index = {label: i for i, label in enumerate(labels)}
    return collect(
        [
            Encoded(x.ids, [0], [index.get(e.label or "", -100)], i, i, text.types(x))
            for i, (e, x) in enumerate(zip(rows, encoded, strict=True))
        ]
    )


def refresh(features: Features, text: Text, seed: int, epoch: int) -> Features:
    """The same in every epoch."""
    return features


def head(backbone: Backbone, labels: tuple[str, ...], task: Task) -> nn.Module:
    """Dense, tanh, linear over the first token."""
    return Classifier(backbone.hidden_size, len(labels))


def loss(logits: torch.Tensor, batch: Packed) -> torch.Tensor:
    """Cross entropy in nats, mean over examples."""
    return nn.functional.cross_entropy(logits, batch.targets)


def items(batch: Packed) -> int:
    """Sentences or pairs."""
    return len(batch.targets)


def summary(logits: torch.Tensor, batch: Packed) -> torch.Tensor:
    """Log probabilities [n, labels]."""
    return logits.log_softmax(-1)


def decode(
    summary: np.ndarray[Any, Any], features: Features, examples: Sequence[Example], labels: tuple[str, ...], task: Task
) -> list[Any]:
    """The most probable label of each example."""
    return [labels[i] for i in summary.argmax(-1)]


def references(examples: Sequence[Example]) -> list[Any]:
    """Gold labels."""
    return [e.label for e in cast(Sequence[TextExample], examples)]
