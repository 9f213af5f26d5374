"""One tag for each word (POS, NER, supertags), read at the word's first token. Knows no language and no method.

A sentence longer than the encoder allows is split at a word border into several sequences: every word gets a tag.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from adaptx.backbones import Backbone
from adaptx.data.examples import Example, WordsExample
from adaptx.data.tokenize import Text
from adaptx.engine.packing import Encoded, Features, Packed, collect
from adaptx.registry import Task
from adaptx.tasks import fixed_labels
from adaptx.tasks.heads import Tagger


def labels(task: Task, examples: Sequence[Example]) -> tuple[str, ...]:
    """The task's tags, or those of the examples."""
    return fixed_labels(task, [t for e in cast(Sequence[WordsExample], examples) for t in e.tags or ()])


def features(examples: Sequence[Example], text: Text, labels: tuple[str, ...], task: Task) -> Features:
    """Sequences of whole words; targets are tag indices."""
    rows = cast(Sequence[WordsExample], examples)
    index = {label: i for i, label in enumerate(labels)}
    start, end, room = text.special["start"], text.special["end"], text.max_tokens - 2
    out: list[Encoded] = []
    for i, (example, words) in enumerate(zip(rows, text.words([e.words for e in rows]), strict=True)):
        tags = [index.get(t, -100) for t in example.tags] if example.tags else [-100] * len(words)
        ids: list[int] = []
        select: list[int] = []
        targets: list[int] = []
        for pieces, tag in zip(words, tags, strict=True):
            pieces = pieces[:room]
            if len(ids) + len(pieces) > room:
                out.append(Encoded([start, *ids, end], select, targets, i, len(out)))
                ids, select, targets = [], [], []
            select.append(len(ids) + 1)
            targets.append(tag)
            ids += pieces
        out.append(Encoded([start, *ids, end], select, targets, i, len(out)))
    return collect(out)


def refresh(features: Features, text: Text, seed: int, epoch: int) -> Features:
    """The same in every epoch."""
    return features


def head(backbone: Backbone, labels: tuple[str, ...], task: Task) -> nn.Module:
    """Linear over the first token of each word."""
    return Tagger(backbone.hidden_size, len(labels))


def loss(logits: torch.Tensor, batch: Packed) -> torch.Tensor:
    """Cross entropy in nats, mean over words."""
    return nn.functional.cross_entropy(logits, batch.targets, ignore_index=-100)


def items(batch: Packed) -> int:
    """Words whose tag is known."""
    return int((batch.targets != -100).sum())


def summary(logits: torch.Tensor, batch: Packed) -> torch.Tensor:
    """The best tag's index [S, 1]."""
    return logits.argmax(-1, keepdim=True)


def decode(
    summary: np.ndarray[Any, Any], features: Features, examples: Sequence[Example], labels: tuple[str, ...], task: Task
) -> list[Any]:
    """Tags per sentence, one for each word."""
    of = np.repeat(features.example, np.diff(features.select_offsets))
    ends = np.cumsum(np.bincount(of, minlength=len(examples)))
    best = [labels[int(i)] for i in summary[:, 0]]
    return [tuple(best[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def references(examples: Sequence[Example]) -> list[Any]:
    """Gold tags per sentence."""
    return [e.tags for e in cast(Sequence[WordsExample], examples)]
