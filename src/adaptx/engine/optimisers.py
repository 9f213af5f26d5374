"""Optimisers by name, and how their state comes back from a checkpoint. Knows no model and no task."""

from typing import Any, get_args

import torch

from adaptx.errors import AdaptxError, unknown_name
from adaptx.recipe import OptimiserName

# adamw8bit: moments in 8 bits, block by block (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"):
# 2 bytes a weight instead of 8. Tensors of fewer than 4,096 weights keep theirs in 32 bits.
KINDS = get_args(OptimiserName)


def build(kind: str, groups: list[dict[str, Any]], lr: float, device: torch.device) -> torch.optim.Optimizer:
    """The optimiser `kind` over parameter groups. Raises AX070 for an unknown one, AX033 without bitsandbytes."""
    groups = [g for g in groups if g["params"]]
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=lr, fused=device.type == "cuda")
    if kind != "adamw8bit":
        raise unknown_name("AX070", f"optimiser {kind}", KINDS)
    try:
        import bitsandbytes as bnb
    except ImportError:
        raise AdaptxError("AX033", "bitsandbytes", "8-bit moments need it.", "pip install bitsandbytes") from None
    made: torch.optim.Optimizer = bnb.optim.AdamW8bit(groups, lr=lr)
    return made


def kept(key: str, value: Any) -> torch.Tensor:
    """A piece of optimiser state as a checkpoint keeps it: a tensor of its own (8-bit code tables are shared)."""
    return value.clone() if key.startswith("qmap") else torch.as_tensor(value)


def restored(optimiser: torch.optim.Optimizer, key: str, value: torch.Tensor, device: torch.device) -> Any:
    """A piece of optimiser state as the optimiser itself keeps it: step counts where it counts, moments on `device`."""
    if key != "step":
        return value.to(device)
    if not isinstance(optimiser, torch.optim.AdamW):
        return int(value.item())
    return value.to(device) if optimiser.defaults["fused"] else value
