"""Products with frozen weights in 8-bit integers, forward and backward. Knows linear layers, no method and no batch.

y = x W' with a scale for each row of x and for each output (vector-wise quantisation: Dettmers et al. 2022,
"LLM.int8()"), and the gradient of x in the same way (SwitchBack: Wortsman et al. 2023, "Stable and low-precision
training for large-scale vision-language models"); the product that they keep in 16 bits, the gradient of W, a frozen
weight does not have. T: rows of x (tokens), I: inputs, O: outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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


def out_of_eight_bits(
    total: torch.Tensor, row_scale: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """bf16 [T, O]: int32 sums `total` [T, O] times a scale [T, 1] for each row and one [O] for each column, plus `bias`
    [O]."""
    out = total.float().mul_(row_scale).mul_(scale)
    return (out if bias is None else out.add_(bias)).to(torch.bfloat16)


@dataclass(frozen=True)
class Kernels:
    """What surrounds an integer product, and how many rows it is given at a time on a CPU."""

    quantise: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = in_eight_bits
    rescale: Callable[..., torch.Tensor] = out_of_eight_bits
    chunk: int = CHUNK

    @staticmethod
    def compiled() -> "Kernels":
        """The same through torch.compile: one pass over memory each, which needs no chunks."""
        fused = partial(torch.compile, dynamic=True)
        return Kernels(fused(in_eight_bits), fused(out_of_eight_bits), 2**31)

    def product(
        self, x: torch.Tensor, w: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """bf16 [T, O]: x [T, I] times int8 w [I, O] with a `scale` [O] for each column, plus `bias` [O]."""
        step = self.chunk if x.device.type == "cpu" else max(1, x.shape[0])
        if 0 < x.shape[0] <= step:
            return self._rows(x, w, scale, bias)
        out = torch.empty(x.shape[0], w.shape[1], dtype=torch.bfloat16, device=x.device)
        for at in range(0, x.shape[0], step):
            out[at : at + step] = self._rows(x[at : at + step], w, scale, bias)
        return out

    def _rows(
        self, x: torch.Tensor, w: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        rows, row_scale = self.quantise(x)
        if x.is_cuda and len(rows) < FEWEST:
            rows = nn.functional.pad(rows, (0, 0, 0, FEWEST - len(rows)))
        return self.rescale(torch._int_mm(rows, w)[: len(row_scale)], row_scale, scale, bias)


@dataclass(frozen=True)
class EightBit:
    """A frozen weight twice in int8: [I, O] with a scale for each output, and [O, I] with one for each input."""

    forth: torch.Tensor
    output_scale: torch.Tensor
    back: torch.Tensor
    input_scale: torch.Tensor
    bias: torch.Tensor | None
    kernels: Kernels = Kernels()

    @staticmethod
    def of(weight: torch.Tensor, bias: torch.Tensor | None, kernels: Kernels = Kernels()) -> "EightBit":
        """`weight` [O, I] and `bias` [O] of a linear layer."""
        forth, output_scale = in_eight_bits(weight.detach())
        back, input_scale = in_eight_bits(weight.detach().t())
        wide = None if bias is None else bias.detach().float()
        copies = (forth.t().contiguous(), output_scale[:, 0], back.t().contiguous(), input_scale[:, 0])
        return EightBit(*copies, wide, kernels)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., I] -> bf16 [..., O]."""
        out: torch.Tensor = _Frozen.apply(x, self)  # type: ignore[no-untyped-call]
        return out


def replace(encoder: Any, kernels: Kernels) -> None:
    """Let the encoder's own linear layers, where their weights are frozen, run in 8 bits. Their parameters stay what
    and where they are; adapters' layers and weights in 4 bits are left alone."""
    for module in linears(encoder):
        if module.weight.is_floating_point() and not module.weight.requires_grad:
            module.forward = EightBit.of(module.weight, module.bias, kernels)  # type: ignore[assignment,method-assign]


class _Frozen(torch.autograd.Function):
    """Keeps nothing of x: the gradient of x does not depend on it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: EightBit) -> torch.Tensor:
        ctx.weight, ctx.dtype = weight, x.dtype
        flat = weight.kernels.product(x.reshape(-1, x.shape[-1]), weight.forth, weight.output_scale, weight.bias)
        return flat.view(*x.shape[:-1], flat.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad, weight = grads[0], ctx.weight
        flat = weight.kernels.product(grad.reshape(-1, grad.shape[-1]), weight.back, weight.input_scale, None)
        return flat.view(*grad.shape[:-1], flat.shape[1]).to(ctx.dtype), None
