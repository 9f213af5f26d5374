"""Several processes that train one model on shares of each batch (started by torchrun). Knows no task and no method.

Every process has all weights and takes its share of a batch's units; gradients are added up before each step, so that n
processes do what one does on the whole batch, up to the order of additions.
"""

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch

from adaptx.engine.packing import Features, IntArray

WAIT = timedelta(hours=2)  # the others wait while the first process evaluates and saves


@dataclass(frozen=True)
class Ranks:
    """This process's number and how many there are."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that evaluates, saves and reports."""
        return self.rank == 0

    def share(self, features: Features, rows: IntArray) -> IntArray:
        """This process's sequences of a batch; every process gets about as many tokens, some perhaps nothing."""
        return rows if self.world == 1 else shares(features, rows, self.world)[self.rank]

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.world > 1 and tensors:
            flat = torch.cat([t.reshape(-1) for t in tensors])
            torch.distributed.all_reduce(flat)
            parts = torch.split(flat, [t.numel() for t in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def sums(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Each number's sum over all processes."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=device)
        self.add([total])
        return [float(value) for value in total.tolist()]

    def any(self, value: bool, device: torch.device) -> bool:
        """Whether it is so in any process."""
        return self.sums([value], device)[0] > 0

    def told(self, value: float | None) -> float:
        """The first process's value, in every process."""
        if self.world == 1:
            assert value is not None
            return value
        said: list[float | None] = [value]
        torch.distributed.broadcast_object_list(said, src=0)
        assert said[0] is not None
        return said[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            torch.distributed.barrier()


ALONE = Ranks()


def shares(features: Features, rows: IntArray, world: int) -> list[IntArray]:
    """The sequences of a batch in `world` parts; a unit stays whole, the longest go first to whom has least (Graham
    1969: at most 4/3 of the best division's longest part)."""
    numbers, position = np.unique(features.unit[rows], return_inverse=True)
    tokens = np.bincount(position, features.offsets[rows + 1] - features.offsets[rows], len(numbers))
    load, owner = np.zeros(world), np.zeros(len(numbers), np.int64)
    for unit in np.argsort(-tokens, kind="stable"):
        owner[unit] = load.argmin()
        load[owner[unit]] += tokens[unit]
    return [rows[owner[position] == rank] for rank in range(world)]


def started() -> Ranks:
    """What torchrun's environment says: its RANK and WORLD_SIZE, one process where there are none."""
    return Ranks(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def join(device: str) -> Ranks:
    """Meet the processes that torchrun started, once: over gloo on CPUs, over nccl on GPUs, each on its own."""
    ranks = started()
    if ranks.world > 1 and not torch.distributed.is_initialized():
        if device.startswith("cuda"):
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=WAIT)
        atexit.register(torch.distributed.destroy_process_group)
    return ranks
