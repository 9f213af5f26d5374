"""Logits over a whole vocabulary, which are never whole: a block of rows at a time. Knows no task and no encoder.

Of [S, V] logits in float32 a usual cross entropy keeps several copies, for a vocabulary of 250,000 more than everything
else in a training step together. Here a block's gradients follow its loss at once, and its memory is used again (Hsu
et al. 2024, "Liger Kernel", section 3.2). S: rows, H: width, V: vocabulary, n: rows of the table in training.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

BYTES = 2**27  # of float32 logits at a time


@dataclass
class Logits:
    """`states` [S, H] times `table` [V, H] in the table's precision, plus `bias` [V]; the columns `ids` [n] come from
    `rows` [n, H] in the precision of the states, which are trained, where there are such."""

    states: torch.Tensor
    table: torch.Tensor
    bias: torch.Tensor
    ids: torch.Tensor | None = None
    rows: torch.Tensor | None = None

    def whole(self) -> torch.Tensor:
        """[S, V] in float32."""
        logits = (self.states.to(self.table.dtype) @ self.table.T).float()
        if self.ids is not None and self.rows is not None:
            logits = logits.index_copy(1, self.ids, (self.states @ self.rows.T).float())
        return logits + self.bias

    def mean_loss(self, targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy in nats, mean over rows; gradients reach states, bias and trained rows. targets: [S]."""
        mean: torch.Tensor = _MeanLoss.apply(  # type: ignore[no-untyped-call]
            self.states, self.bias, self.rows, self.ids, self.table, targets
        )
        return mean

    @torch.no_grad()
    def losses(self, targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy in nats of each row [S]."""
        found = torch.empty(len(targets), device=targets.device)
        for at, logits in _blocks(self):
            found[at] = _exponentiate(logits, targets[at])[0]
        return found


def _blocks(of: Logits) -> Iterator[tuple[slice, torch.Tensor]]:
    """Rows, and their logits in float32, in memory that the next block takes."""
    size = max(1, BYTES // (4 * len(of.table)))
    half = of.states.to(of.table.dtype)
    product = half.new_empty(min(size, len(half)), len(of.table))
    logits = torch.empty_like(product, dtype=torch.float32)
    for first in range(0, len(half), size):
        at = slice(first, min(first + size, len(half)))
        n = at.stop - first
        torch.mm(half[at], of.table.T, out=product[:n])
        block = torch.add(product[:n], of.bias, out=logits[:n])
        if of.ids is not None and of.rows is not None:
            block.index_copy_(1, of.ids, (of.states[at] @ of.rows.T).float() + of.bias[of.ids])
        yield at, block


def _exponentiate(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Make exp(logits - their largest) of logits, in place: the loss of each row, and [rows, 1] what they sum to."""
    own, top = logits.gather(1, targets[:, None]), logits.amax(1, keepdim=True)
    total = logits.sub_(top).exp_().sum(1, keepdim=True)
    return (total.log() + top - own)[:, 0], total


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        bias: torch.Tensor,
        rows: torch.Tensor | None,
        ids: torch.Tensor | None,
        table: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        count = len(targets)
        losses = torch.empty(count, device=states.device)
        grads = [torch.zeros_like(x) if x is not None else None for x in (states, bias, rows)]
        for at, logits in _blocks(Logits(states, table, bias, ids, rows)):
            losses[at], total = _exponentiate(logits, targets[at])
            if not any(ctx.needs_input_grad):
                continue
            logits.div_(total * count)  # from here on the gradient: softmax less the targets, of the mean
            logits.scatter_add_(1, targets[at, None], logits.new_full((len(logits), 1), -1 / count))
            of_states, of_bias, of_rows = grads
            assert of_states is not None and of_bias is not None
            of_bias += logits.sum(0)
            if ids is not None and rows is not None and of_rows is not None:
                own = logits.index_select(1, ids)
                of_rows += own.T @ states[at]
                of_states[at] += own @ rows
                logits.index_fill_(1, ids, 0)
            of_states[at] += logits.to(table.dtype) @ table
        ctx.grads = grads
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, *above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_states, of_bias, of_rows = (None if g is None else g * above[0] for g in ctx.grads)
        return of_states, of_bias, of_rows, None, None, None
