"""Where a process's memory goes: resident set from the kernel, the CUDA allocator's counts, tensors by their role.

Knows torch modules and optimisers in general, no method and no task.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


def reset_peak() -> bool:
    """Make the peak what is resident now; False where the kernel does not allow it.

    Source: proc_pid_clear_refs(5), value 5.
    """
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def tensor_bytes(*modules: nn.Module) -> int:
    """Bytes of all parameters and buffers of the modules, every storage once."""
    return sum(_storages(t for m in modules for t in (*m.parameters(), *m.buffers())).values())


def _storages(tensors: Any) -> dict[int, int]:
    out: dict[int, int] = {}
    for t in tensors:
        storage = t.untyped_storage()
        out[storage.data_ptr()] = storage.nbytes()
    out.pop(0, None)  # meta and empty tensors
    return out


@dataclass
class StepMemory:
    """Bytes of gradients and of optimiser state, as they are around one optimiser step."""

    gradients: int = 0
    optimiser: int = 0


@contextmanager
def watching_optimisers() -> Iterator[StepMemory]:
    """Within the block every optimiser step of the process notes its gradients before and its state after it."""
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    seen = StepMemory()

    def before(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        if not seen.gradients:
            parameters = [p for group in optimiser.param_groups for p in group["params"]]
            seen.gradients = sum(p.grad.nbytes for p in parameters if p.grad is not None)

    def after(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        if not seen.optimiser:
            seen.optimiser = sum(_storages(_tensors(optimiser.state)).values())

    handles = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors inside nested mappings and sequences."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


@dataclass
class Saved:
    """Storages that autograd keeps for the backward pass, by address."""

    storages: dict[int, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(self.storages.values())


@contextmanager
def watching_activations(*modules: nn.Module) -> Iterator[Saved]:
    """Within the block every tensor that autograd saves is noted once; the modules' own weights do not count."""
    own = _storages(t for m in modules for t in (*m.parameters(), *m.buffers()))
    seen = Saved()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield seen
