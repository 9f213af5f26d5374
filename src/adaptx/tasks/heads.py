"""Heads: small trainable readers of hidden states, float32 throughout. S: selected tokens, H: hidden, C: outputs."""

import torch
from torch import nn


class Classifier(nn.Module):
    """[S, H] -> [S, C]: dropout, dense, tanh, dropout, linear (RobertaClassificationHead's shape)."""

    def __init__(self, hidden: int, outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(states)))))  # type: ignore[no-any-return]


class Tagger(nn.Module):
    """[S, H] -> [S, C]: dropout, linear."""

    def __init__(self, hidden: int, outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.out = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.out(self.dropout(states))  # type: ignore[no-any-return]


def log_partition(logits: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
    """log sum exp of `logits` [S] within each of the `groups` that `group` [S] names -> [groups]."""
    top = torch.full((groups,), -torch.inf, device=logits.device).scatter_reduce(0, group, logits.detach(), "amax")
    total = torch.zeros(groups, device=logits.device).index_add(0, group, torch.exp(logits - top[group]))
    return total.log() + top
