"""Products with frozen weights in 8-bit integers, forward and backward. Knows linear layers, no method and no batch.

y = x W' with a scale for each row of x and for each output (vector-wise quantisation: Dettmers et al. 2022,
"LLM.int8()"), and the gradient of x in the same way (SwitchBack: Wortsman et al. 2023, "Stable and low-precision
training for large-scale vision-language models"); the product that they keep in 16 bits, the gradient of W, a frozen
weight does not have. T: rows of x (tokens), I: inputs, O: outputs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adaptx.backbones import linears

CHUNK = 1024  # rows at a time on a CPU: fewer would cost more in calls than the cache gives back
FEWEST = 17  # rows that CUDA's integer product takes at least
LEVELS = 127


def in_eight_bits(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x [T, I] as int8 [T, I] and a float32 scale [T, 1] for each row, whose product is about x."""
    wide = x.float()
    scale = torch.maximum(wide.amax(-1, keepdim=True), wide.amin(-1, keepdim=True).neg_())
    scale.clamp_min_(1e-30).div_(LEVELS)
    return (wide / scale).round_().to(torch.int8), scale


def product(x: torch.Tensor, w: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """bf16 [T, O]: x [T, I] times int8 w [I, O] with a `scale` [O] for each column, plus `bias` [O]."""
    out = torch.empty(x.shape[0], w.shape[1], dtype=torch.bfloat16, device=x.device)
    step = CHUNK if x.device.type == "cpu" else max(1, x.shape[0])
    for at in range(0, x.shape[0], step):
        rows, row_scale = in_eight_bits(x[at : at + step])
        if x.is_cuda and len(rows) < FEWEST:
            rows = nn.functional.pad(rows, (0, 0, 0, FEWEST - len(rows)))
        total = torch._int_mm(rows, w)[: len(row_scale)].float().mul_(row_scale).mul_(scale)
        out[at : at + step] = total if bias is None else total.add_(bias)
    return out


@dataclass(frozen=True)
class EightBit:
    """A frozen weight twice in int8: [I, O] with a scale for each output, and [O, I] with one for each input."""

    forth: torch.Tensor
    output_scale: torch.Tensor
    back: torch.Tensor
    input_scale: torch.Tensor
    bias: torch.Tensor | None

    @staticmethod
    def of(weight: torch.Tensor, bias: torch.Tensor | None) -> "EightBit":
        """`weight` [O, I] and `bias` [O] of a linear layer."""
        forth, output_scale = in_eight_bits(weight.detach())
        back, input_scale = in_eight_bits(weight.detach().t())
        wide = None if bias is None else bias.detach().float()
        return EightBit(forth.t().contiguous(), output_scale[:, 0], back.t().contiguous(), input_scale[:, 0], wide)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., I] -> bf16 [..., O]."""
        out: torch.Tensor = _Frozen.apply(x, self)  # type: ignore[no-untyped-call]
        return out


def replace(encoder: Any) -> None:
    """Let the encoder's own linear layers, where their weights are frozen, run in 8 bits. Their parameters stay what
    and where they are; adapters' layers and weights in 4 bits are left alone."""
    for module in linears(encoder):
        if module.weight.is_floating_point() and not module.weight.requires_grad:
            module.forward = EightBit.of(module.weight, module.bias)  # type: ignore[assignment,method-assign]


class _Frozen(torch.autograd.Function):
    """Keeps nothing of x: the gradient of x does not depend on it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: EightBit) -> torch.Tensor:
        ctx.weight, ctx.dtype = weight, x.dtype
        flat = product(x.reshape(-1, x.shape[-1]), weight.forth, weight.output_scale, weight.bias)
        return flat.view(*x.shape[:-1], flat.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad, weight = grads[0], ctx.weight
        flat = product(grad.reshape(-1, grad.shape[-1]), weight.back, weight.input_scale, None)
        return flat.view(*grad.shape[:-1], flat.shape[1]).to(ctx.dtype), None
