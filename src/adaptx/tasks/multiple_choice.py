"""One of several continuations fits (HellaSwag, CosmosQA, CommonsenseQA, XCOPA). Knows no language and no method.

Every choice is read together with the context and gets one score (Radford et al. 2018, section 3.3); the choices of an
example always share a batch.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from adaptx.backbones import Backbone
from adaptx.data.examples import ChoiceExample, Example
from adaptx.data.tokenize import Text
from adaptx.engine.packing import Encoded, Features, Packed, collect
from adaptx.registry import Task
from adaptx.tasks.heads import Classifier, log_partition


def labels(task: Task, examples: Sequence[Example]) -> tuple[str, ...]:
    """None: an answer is the number of a choice."""
    return ()


def features(examples: Sequence[Example], text: Text, labels: tuple[str, ...], task: Task) -> Features:
    """One sequence a choice, (context and question, choice), read at its first token; target 1 for the right one."""
    rows = cast(Sequence[ChoiceExample], examples)
    pairs = [(" ".join(filter(None, (e.context, e.question))), choice) for e in rows for choice in e.choices]
    of = [(i, int(k == e.label)) for i, e in enumerate(rows) for k in range(len(e.choices))]
    return collect(
        [
            Encoded(x.ids, [0], [target], i, i, text.types(x))
            for (i, target), x in zip(of, text.encode(pairs), strict=True)
        ]
    )


def refresh(features: Features, text: Text, seed: int, epoch: int) -> Features:
    """The same in every epoch."""
    return features


def head(backbone: Backbone, labels: tuple[str, ...], task: Task) -> nn.Module:
    """Dense, tanh, linear to one score over the first token."""
    return Classifier(backbone.hidden_size, 1)


def loss(logits: torch.Tensor, batch: Packed) -> torch.Tensor:
    """Cross entropy over the choices of an example, in nats, mean over the examples whose label is known."""
    scores, group = logits[:, 0], batch.unit[batch.owner]
    partition = log_partition(scores, group, len(batch.unit))  # room for more groups than there are: no look at the GPU
    right = batch.targets == 1
    return ((partition[group] - scores) * right).sum() / right.sum().clamp(min=1)


def items(batch: Packed) -> int:
    """Examples whose label is known."""
    return int((batch.targets == 1).sum())


def summary(logits: torch.Tensor, batch: Packed) -> torch.Tensor:
    """The score of each choice [S, 1]."""
    return logits


def decode(
    summary: np.ndarray[Any, Any],
    features: Features,
    examples: Sequence[Example],
    labels: tuple[str, ...],
    task: Task,
) -> list[Any]:
    """The index of each example's best choice."""
    borders = np.searchsorted(features.example, np.arange(len(examples) + 1))
    return [int(summary[a:b, 0].argmax()) for a, b in pairwise(borders)]


def references(examples: Sequence[Example]) -> list[Any]:
    """Indices of the right choices."""
    return [e.label for e in cast(Sequence[ChoiceExample], examples)]
