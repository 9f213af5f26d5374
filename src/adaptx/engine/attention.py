"""Self-attention over a packed row of tokens: the one forward that the engine replaces. Knows no task and no method.

The library's modules keep every parameter (query/key/value with LoRA or 4-bit weights inside) and are called as they
are; only the softmax(QK'/sqrt(d))V between them learns about sequence borders. Attention dropout is not applied: the
variable-length CUDA kernels have none, and one rule for all devices keeps runs comparable.
T: tokens, H: hidden size, h: heads, d: H / h.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, cast

import torch
from torch import nn

from adaptx.engine.packing import Bucket, Packed
from adaptx.engine.patches import forwards


class _BucketAttention(torch.autograd.Function):
    """softmax(QK'/sqrt(d))V of all buckets as batched matrix products with their own backward.

    On short sequences the CPU's fused attention spends more time in its backward than all linears together, and the
    gather's generic backward is a slow scatter-add. Here every token has exactly one real slot and buckets follow the
    packed order, so the backward of each gather is a plain selection.
    """

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Packed, heads: int) -> torch.Tensor:
        """q, k, v: [T, H] -> [T, H]."""
        scale = (q.shape[1] // heads) ** -0.5
        out, saved = [], []
        for bucket in batch.buckets:
            parts = [_to_slots(x, bucket, heads) for x in (q, k, v)]  # [b * h, L, d]
            scores = torch.bmm(parts[0], parts[1].transpose(1, 2)).float().mul_(scale)
            if bucket.mask is not None:
                n, longest = bucket.shape
                scores.view(n, heads, longest, longest).add_(bucket.mask[:, None])
            probs = torch.softmax(scores, -1).to(v.dtype)
            saved += [*parts, probs]
            out.append(_from_slots(torch.bmm(probs, parts[2]), bucket, heads))
        ctx.save_for_backward(*saved)
        ctx.batch, ctx.heads, ctx.scale = batch, heads, scale
        return torch.cat(out)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors
        out: tuple[list[torch.Tensor], ...] = ([], [], [])
        for i, bucket in enumerate(ctx.batch.buckets):
            q, k, v, probs = saved[4 * i : 4 * i + 4]
            grad = _to_slots(grads[0], bucket, ctx.heads, only_real=True)
            wide = probs.float()
            dp = torch.bmm(grad, v.transpose(1, 2)).float()
            ds = dp.sub_((dp * wide).sum(-1, keepdim=True)).mul_(wide).mul_(ctx.scale).to(q.dtype)
            slots = (torch.bmm(ds, k), torch.bmm(ds.transpose(1, 2), q), torch.bmm(probs.transpose(1, 2), grad))
            for into, part in zip(out, slots, strict=True):
                into.append(_from_slots(part, bucket, ctx.heads))
        return (*(torch.cat(part) for part in out), None, None)


def _to_slots(x: torch.Tensor, bucket: Bucket, heads: int, only_real: bool = False) -> torch.Tensor:
    """[T, H] -> the bucket's [b * h, L, d]; with `only_real`, slots beyond a sequence's end are zero."""
    n, longest = bucket.shape
    slots = x[bucket.first : bucket.last] if bucket.valid is None else x.index_select(0, bucket.rows)
    slots = slots.view(n, longest, heads, -1).transpose(1, 2)
    if only_real and bucket.mask is not None:
        slots = slots * (bucket.mask == 0).to(x.dtype)[..., None]
    return slots.reshape(n * heads, longest, -1)


def _from_slots(x: torch.Tensor, bucket: Bucket, heads: int) -> torch.Tensor:
    """The bucket's [b * h, L, d] -> [its tokens, H]."""
    n, longest = bucket.shape
    tokens = x.view(n, heads, longest, -1).transpose(1, 2).reshape(n * longest, -1)
    return tokens if bucket.valid is None else tokens.index_select(0, bucket.valid)


def bucket_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Packed, heads: int) -> torch.Tensor:
    """Attention on a CPU, bucket by bucket. q, k, v: [T, H] -> [T, H]."""
    with torch.autocast("cpu", enabled=False):
        return cast(torch.Tensor, _BucketAttention.apply(q, k, v, batch, heads))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=1)
def varlen_kernel() -> Callable[..., Any] | None:
    """The variable-length flash kernel: torch's own (2.10 and later), or flash-attn's, or None where neither is."""
    with suppress(ImportError):
        from torch.nn.attention.varlen import varlen_attn

        return cast(Callable[..., Any], varlen_attn)
    with suppress(ImportError):
        from flash_attn import flash_attn_varlen_func

        return cast(Callable[..., Any], flash_attn_varlen_func)
    return None


def varlen_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Packed, heads: int) -> torch.Tensor:
    """Attention on CUDA by the variable-length flash kernel (half precision only). q, k, v: [T, H] -> [T, H]."""
    kernel = varlen_kernel()
    if kernel is None:
        return masked_attention(q, k, v, batch, heads)
    shape, cu, longest = (q.shape[0], heads, -1), batch.cu_seqlens, batch.longest
    mixed = kernel(q.view(shape), k.view(shape), v.view(shape), cu, cu, longest, longest)
    return cast(torch.Tensor, mixed).reshape(q.shape[0], -1)


def masked_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: Packed, heads: int) -> torch.Tensor:
    """Attention in fp32 on CUDA, or without a flash kernel: one T x T mask of borders. q, k, v: [T, H] -> [T, H]."""
    lengths = batch.cu_seqlens.diff().long()
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=q.device), lengths, output_size=q.shape[0])
    q4, k4, v4 = (x.view(1, x.shape[0], heads, -1).transpose(1, 2) for x in (q, k, v))
    same = (owner[:, None] == owner)[None, None]
    mixed = torch.nn.functional.scaled_dot_product_attention(q4, k4, v4, attn_mask=same)
    return mixed.transpose(1, 2).reshape(q.shape[0], -1)


def _attention_for(q: torch.Tensor, batch: Packed) -> Callable[..., torch.Tensor]:
    if batch.buckets:
        return bucket_attention
    half = q.dtype in (torch.float16, torch.bfloat16)
    return varlen_attention if q.is_cuda and half else masked_attention


@contextmanager
def packed_attention(modules: list[nn.Module], batch: Packed) -> Iterator[None]:
    """Within the block the self-attention `modules` see `batch`'s sequence borders instead of a padding mask."""

    def forward_of(module: Any) -> Callable[..., tuple[torch.Tensor]]:
        def forward(hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
            q, k, v = (project(hidden_states)[0] for project in (module.query, module.key, module.value))
            mixed = _attention_for(q, batch)(q, k, v, batch, module.num_attention_heads)
            return (mixed[None], None)  # type: ignore[return-value]  # attention probabilities are never asked for

        return forward

    with forwards((module, forward_of(module)) for module in modules):
        yield
