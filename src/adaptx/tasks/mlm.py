"""Masked language modelling on running text: how language adapters are trained. Knows no language and no method.

Devlin et al. 2019, section 3.1: 15 % of the tokens are predicted; of these 80 % read <mask>, 10 % a random token, 10 %
themselves. Masks are drawn anew in every epoch (Liu et al. 2019). Documents are cut into full blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from adaptx.backbones import Backbone
from adaptx.data.examples import DocumentExample, Example
from adaptx.data.tokenize import Text
from adaptx.engine.packing import Encoded, Features, Packed, collect
from adaptx.registry import Task
from adaptx.tasks.logits import Logits

SHARE, MASKED, RANDOM = 0.15, 0.8, 0.1


class MaskedHead(nn.Module):
    """[S, H] -> logits [S, V]: dense, gelu, LayerNorm, then the frozen word embeddings as output matrix, plus a bias.

    An invertible language adapter (MAD-X, section 2.2.2) is undone before the output matrix, as its forward pass stands
    behind the embeddings. V logits of a few hundred positions would be the widest tensor of a step: they are taken in
    the precision of the encoder's embeddings and a block at a time.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        table = backbone.state["embeddings.word_embeddings.weight"]
        hidden = table.shape[1]
        self.dense, self.norm = nn.Linear(hidden, hidden), nn.LayerNorm(hidden, eps=backbone.config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(len(table)))
        self.register_buffer("table", table, persistent=False)
        self.table: torch.Tensor
        self.inverse: Callable[..., torch.Tensor] | None = None
        self.trained_rows: Callable[[], tuple[torch.Tensor, torch.Tensor]] | None = None
        if backbone.masked_head:
            self.load_state_dict(backbone.masked_head)
        else:
            nn.init.eye_(self.dense.weight)
            nn.init.zeros_(self.dense.bias)

    def bind(self, encoder: Any) -> None:
        """Share the encoder's embeddings, with the rows in training, and undo its invertible adapter if it has one."""
        embedding = encoder.embeddings.word_embeddings
        self.table = embedding.weight.detach()
        self.trained_rows = getattr(embedding, "trained_rows", None)
        if getattr(encoder, "invertible_adapters", None):
            self.inverse = encoder.invertible_adapters_forward

    def forward(self, states: torch.Tensor) -> Logits:
        states = self.norm(nn.functional.gelu(self.dense(states)))
        if self.inverse is not None:
            states = self.inverse(states[None], rev=True)[0]
        return Logits(states, self.table, self.bias, *(self.trained_rows() if self.trained_rows else ()))


def labels(task: Task, examples: Sequence[Example]) -> tuple[str, ...]:
    """The vocabulary is the label set; it needs no names."""
    return ()


def features(examples: Sequence[Example], text: Text, labels: tuple[str, ...], task: Task) -> Features:
    """Blocks of at most `max_tokens` tokens, nothing selected yet: `refresh` draws the masks."""
    documents = [e.text for e in cast(Sequence[DocumentExample], examples)]
    start, end, room = text.special["start"], text.special["end"], text.max_tokens - 2
    out: list[Encoded] = []
    for i, encoding in enumerate(text.tokenizer.encode_batch(documents, add_special_tokens=False)):
        for at in range(0, len(encoding.ids), room):
            out.append(Encoded([start, *encoding.ids[at : at + room], end], [], [], i, len(out)))
    return collect(out)


def refresh(features: Features, text: Text, seed: int, epoch: int) -> Features:
    """The blocks with fresh masks; epoch -1 (evaluation) always draws the same ones."""
    random = np.random.default_rng([seed, epoch + 1])
    ids = features.ids.copy()
    candidates = np.flatnonzero(~np.isin(ids, list(text.special.values())))
    chosen = candidates[random.random(len(candidates)) < SHARE]
    targets = ids[chosen].astype(np.int64)
    draw = random.random(len(chosen))
    ids[chosen[draw < MASKED]] = text.special["mask"]
    replaced = chosen[(draw >= MASKED) & (draw < MASKED + RANDOM)]
    ids[replaced] = features.ids[random.choice(candidates, len(replaced))]
    sequence = np.searchsorted(features.offsets, chosen, "right") - 1
    borders = np.concatenate([[0], np.cumsum(np.bincount(sequence, minlength=features.sequences))])
    inside = (chosen - features.offsets[sequence]).astype(np.int32)
    return replace(features, ids=ids, select=inside, select_offsets=borders, targets=targets)


def head(backbone: Backbone, labels: tuple[str, ...], task: Task) -> nn.Module:
    """The backbone's own head where its checkpoint has one, else a fresh one over its word embeddings."""
    return MaskedHead(backbone)


def loss(logits: Logits, batch: Packed) -> torch.Tensor:
    """Cross entropy in nats, mean over masked tokens."""
    return logits.mean_loss(batch.targets)


def items(batch: Packed) -> int:
    """Masked tokens."""
    return len(batch.targets)


def summary(logits: Logits, batch: Packed) -> torch.Tensor:
    """Negative log likelihood of each masked token in nats [S, 1]."""
    return logits.losses(batch.targets)[:, None]


def decode(
    summary: np.ndarray[Any, Any],
    features: Features,
    examples: Sequence[Example],
    labels: tuple[str, ...],
    task: Task,
) -> list[Any]:
    """Per document the summed negative log likelihood and the number of masked tokens."""
    of = np.repeat(features.example, np.diff(features.select_offsets))
    nats = np.bincount(of, summary[:, 0], minlength=len(examples))
    return list(zip(nats.tolist(), np.bincount(of, minlength=len(examples)).tolist(), strict=True))


def references(examples: Sequence[Example]) -> list[Any]:
    """Nothing: what is predicted comes from the text itself."""
    return [None] * len(examples)
