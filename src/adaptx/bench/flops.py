"""Floating point operations of a training step: by formula, and counted by torch while a step runs.

A multiply and an add are two operations; elementwise work does not count. H: hidden size, F: feed-forward size,
T: tokens, l: a sequence's length, N: weights in the linears, 4 H^2 + 2 H F a layer.

A linear of in x out costs 2 T in out forward, as much again for the gradient of its input and as much for that of its
weight (Kaplan et al. 2020, section 2.1: 2 N forward, 4 N backward a token). Frozen weights need no gradient of their
own, which leaves 4 N of 6 N, and nothing below the lowest trained weight is visited at all. Attention's two products
cost 4 H l^2 a sequence forward and twice that backward.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adaptx.errors import AdaptxError

# Parts of the bottom layer's backward pass below the lowest trained weight, by method; "all" is the whole layer.
BELOW = {
    "seq_bn": ("all",),
    "double_seq_bn": ("projections", "attention", "output"),
    "par_bn": ("all",),
    "prefix_tuning": ("projections",),
    "lora": ("projections",),
    "ia3": ("projections",),
}
REPARAMETERISATION = 512  # width of the network that makes prefixes; adapters' PrefixTuningConfig, bottleneck_size


@dataclass(frozen=True)
class Geometry:
    """Sizes of an encoder."""

    hidden: int
    feed_forward: int
    layers: int

    @staticmethod
    def of(config: Any) -> "Geometry":
        """The geometry of an encoder's configuration."""
        return Geometry(int(config.hidden_size), int(config.intermediate_size), int(config.num_hidden_layers))

    @property
    def linears(self) -> list[tuple[int, int]]:
        """(in, out) of a layer's linears: three projections, attention output, feed-forward up and down."""
        h, f = self.hidden, self.feed_forward
        return [(h, h)] * 4 + [(h, f), (f, h)]


@dataclass(frozen=True)
class Flops:
    """Operations of one step."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """Forward and backward together."""
        return self.forward + self.backward


def formula(
    geometry: Geometry,
    family: str,
    hyper: dict[str, Any],
    lengths: Sequence[int],
    head: nn.Module,
    selected: int,
    narrow: bool = False,
    known: int = 0,
) -> Flops:
    """Operations of a step on sequences of these `lengths`, of which the head reads `selected` tokens.

    With the lengths that are computed on (padding included) it is what the hardware does, with the real ones what the
    model needs. `narrow`: above the top layer's attention the selected tokens alone go on. `known`: layers from the
    bottom whose output was kept.
    """
    tokens, squares = sum(lengths), sum(n * n for n in lengths)
    linears = 2.0 * tokens * sum(i * o for i, o in geometry.linears)
    attention = 4.0 * geometry.hidden * squares
    forward = (geometry.layers - known) * (linears + attention)
    above = min(selected, tokens) if narrow else tokens
    skipped = 2.0 * (tokens - above) * sum(i * o for i, o in geometry.linears[3:])
    forward -= skipped
    own = _own(geometry, family, hyper, lengths, above)
    read, learnt = _head(head, selected)
    if family == "probe":
        return Flops(forward + read, learnt)
    met = geometry.layers - (0 if family == "full" else min(_adapted(geometry, hyper)))
    backward = met * (linears + 2 * attention) - skipped
    if family == "full":
        backward += geometry.layers * linears - skipped
    else:
        kind = str(hyper.get("config", "lora"))
        beyond = above if met == 1 else tokens  # the lowest layer met is the top one, which goes on with fewer
        backward -= sum(_parts(geometry, tokens, beyond, attention)[p] for p in BELOW.get(kind, ()))
    return Flops(forward + own.forward + read, backward + own.backward + read + learnt)


def _parts(g: Geometry, tokens: int, beyond: int, attention: float) -> dict[str, float]:
    """Backward operations of one layer with frozen weights, by part; `beyond`: tokens beyond its attention."""
    square, wide = 2.0 * g.hidden**2, 2.0 * beyond * g.hidden * g.feed_forward
    parts = {"projections": 3 * tokens * square, "attention": 2 * attention, "output": beyond * square}
    return {**parts, "all": sum(parts.values()) + 2 * wide}


def _own(g: Geometry, family: str, hyper: dict[str, Any], lengths: Sequence[int], above: int) -> Flops:
    """What the adapter itself adds; `above`: tokens beyond the top layer's attention."""
    tokens, kind = sum(lengths), hyper.get("config", "lora")
    adapted = _adapted(g, hyper)
    narrowed = tokens - above if g.layers - 1 in adapted else 0  # tokens that do not come out of the top layer
    if family == "bottleneck" and kind != "prefix_tuning":
        width = max(1, int(g.hidden / float(hyper.get("reduction_factor", 16))))
        met = (len(adapted) * tokens - narrowed) * (2 if kind == "double_seq_bn" else 1)
        return _trained(4.0 * met * g.hidden * width)
    if kind == "prefix_tuning":
        prefix = int(hyper.get("prefix_length", 30))
        width = int(hyper.get("bottleneck_size", REPARAMETERISATION))
        made = 2.0 * len(lengths) * prefix * width * (g.hidden + g.layers * 2 * g.hidden)  # once a sequence
        seen = g.layers * 4.0 * g.hidden * prefix * tokens
        return Flops(made + seen, 2 * made + 2 * seen)
    if family == "lora" and kind == "lora":
        rank = int(hyper.get("r", 8))
        sizes = [i + o for i, o in g.linears]
        low = _trained(2.0 * rank * (tokens * len(adapted) * sum(sizes) - narrowed * sum(sizes[3:])))
        if not hyper.get("use_dora"):
            return low
        # DoRA's weight norm multiplies the two low-rank matrices out, through an identity of in rows, without gradient.
        norm = 2.0 * rank * len(adapted) * sum(i * (i + o) for i, o in g.linears)
        return Flops(low.forward + norm, low.backward)
    return Flops(0.0, 0.0)


def _adapted(g: Geometry, hyper: dict[str, Any]) -> list[int]:
    """The layers that have an adapter, in the words of the methods' libraries."""
    chosen = hyper.get("layers_to_transform", range(g.layers))
    return [i for i in range(g.layers) if i in chosen and i not in hyper.get("leave_out", ())]


def _trained(forward: float) -> Flops:
    return Flops(forward, 2 * forward)


def _head(head: nn.Module, selected: int) -> tuple[float, float]:
    """Operations of the head's matrices forward (as many go into the gradient of its input), and for their weights."""
    matrices = [t for t in (*head.parameters(), *head.buffers()) if t.dim() == 2]
    forward = sum(2.0 * selected * t.numel() for t in matrices)
    return forward, sum(2.0 * selected * t.numel() for t in matrices if t.requires_grad)


def counted(step: Callable[[], Any], attention: Flops) -> float:
    """Operations that torch sees while `step` runs.

    `attention`: of one layer, for the variable-length kernel, whose shapes do not tell the sequences' borders.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False, custom_mapping=_fused(attention)) as counter:
        step()
    return float(counter.get_total_flops())


def _fused(attention: Flops) -> dict[Any, Any]:
    """Formulas for the kernels that torch's own table lacks: fused attention, and products with 4-bit weights."""
    aten: Any = torch.ops.aten

    def forward(q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        batch, heads, queries, width = q
        return int(4 * batch * heads * queries * k[2] * width)

    def backward(grad: Any, q: Any, k: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return 2 * forward(q, k, None)

    def always(value: float) -> Callable[..., int]:
        return lambda *_, **__: int(value)

    known: dict[Any, Any] = {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }

    def product(a: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return int(2 * math.prod(a) * out_shape[-1])

    known[aten._int_mm] = product

    late = {  # there once their library is imported
        ("torch_attn", "_varlen_attn"): always(attention.forward),
        ("torch_attn", "_varlen_attn_backward"): always(attention.backward),
        ("flash_attn", "_flash_attn_varlen_forward"): always(attention.forward),
        ("flash_attn", "_flash_attn_varlen_backward"): always(attention.backward),
        ("bitsandbytes", "gemm_4bit"): product,
        ("bitsandbytes", "gemv_4bit"): product,
    }
    for (space, name), count in late.items():
        if hasattr(getattr(torch.ops, space), name):
            known[getattr(getattr(torch.ops, space), name)] = count
    return known


def compare(count: float, by_formula: float) -> float:
    """counted / formula. Raises AX094 where they are more than a factor of two apart: then one of them is wrong."""
    ratio = count / by_formula if by_formula else float("inf")
    if not 0.5 <= ratio <= 2.0:
        raise AdaptxError("AX094", f"{count:.3g} counted, {by_formula:.3g} by formula", f"their ratio is {ratio:.2f}.")
    return ratio
