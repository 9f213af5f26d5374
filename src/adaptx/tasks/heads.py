"""Heads: small trainable readers of hidden states, float32 throughout. S: selected tokens, H: hidden, C: outputs."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Masks:
    """Where the masks of one batch come from, so that they do not depend on how it is divided over processes or pieces.

    Everyone draws for all `rows` of the whole batch from generators that begin alike; `mine` [S]: which rows these are,
    None where they are all.
    """

    generator: torch.Generator
    rows: int
    mine: torch.Tensor | None = None

    def draw(self, states: torch.Tensor, p: float) -> torch.Tensor:
        """[S, H] of 0 and 1 / (1 - p)."""
        whole = states.new_empty(self.rows, states.shape[1]).bernoulli_(1 - p, generator=self.generator).div_(1 - p)
        return whole if self.mine is None else whole.index_select(0, self.mine)


class Dropout(nn.Module):
    """[S, H] -> [S, H]: nn.Dropout with masks from `masks`, or from torch's own generator where there are none."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.masks: Masks | None = None

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        if self.masks is None or not self.training or self.p == 0:
            return nn.functional.dropout(states, self.p, self.training)
        return states * self.masks.draw(states, self.p)


class Classifier(nn.Module):
    """[S, H] -> [S, C]: dropout, dense, tanh, dropout, linear (RobertaClassificationHead's shape)."""

    def __init__(self, hidden: int, outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, outputs)
        self.dropout = Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(states)))))  # type: ignore[no-any-return]


class Tagger(nn.Module):
    """[S, H] -> [S, C]: dropout, linear."""

    def __init__(self, hidden: int, outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.out = nn.Linear(hidden, outputs)
        self.dropout = Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.out(self.dropout(states))  # type: ignore[no-any-return]


def log_partition(logits: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
    """log sum exp of `logits` [S] within each of the `groups` that `group` [S] names -> [groups]."""
    top = torch.full((groups,), -torch.inf, device=logits.device).scatter_reduce(0, group, logits.detach(), "amax")
    total = torch.zeros(groups, device=logits.device).index_add(0, group, torch.exp(logits - top[group]))
    return total.log() + top
