"""The clock of a training loop: what its reports after each step tell of time, memory and energy. Trains nothing."""

import time
from itertools import pairwise
from typing import Any

import torch

from adaptx.bench import energy
from adaptx.engine.loop import Progress


class Ticks:
    """The loop's steps as its reports tell them: when each ended, and what the device holds in between.

    On a GPU the loop runs ahead of the device. There the end of a step is an event in the device's own queue, so that
    measuring makes nothing wait but the borders of the measured window.
    """

    def __init__(self, device: torch.device, warm_up: int, last: int, counters: energy.Gpu | None) -> None:
        self.device, self.warm_up, self.last, self.counters = device, warm_up, last, counters
        self.meter = energy.Meter(counters.joules) if counters else None
        self.energy: dict[str, Any] | None = None
        self.ends: list[Any] = []  # seconds, or CUDA events
        self.busy: list[float] = []  # processor seconds of the process so far
        self.used = self.between = 0  # bytes: of the whole device, allocated between two steps
        self.pieces = 1

    def start(self) -> None:
        """The end of step 0, before the first one."""
        self._border(0)

    def __call__(self, now: Progress, steps: int, rate: float) -> None:
        """The loop's report after a step."""
        self._border(now.step)
        if self.device.type == "cuda":
            self.between = max(self.between, torch.cuda.memory_allocated(self.device))

    def split(self, pieces: int) -> None:
        """The loop takes its batches in pieces from now on: they do not fit into memory."""
        self.pieces = pieces

    def _border(self, step: int) -> None:
        """Note the end of a step; around the measured window the device's queue runs empty first."""
        edge = step in (self.warm_up, self.last)
        if edge and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.ends.append(_event() if self.device.type == "cuda" else time.perf_counter())
        self.busy.append(time.process_time())
        if self.meter and step == self.warm_up:
            self.meter.start()
        if self.meter and step == self.last:
            self.energy = self.meter.stop()
        if self.counters and edge:
            self.used = max(self.used, self.counters.used_bytes())

    @property
    def seconds(self) -> list[float]:
        """Wall seconds of every step, warm-up included."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return [a.elapsed_time(b) / 1000 for a, b in pairwise(self.ends)]
        return [b - a for a, b in pairwise(self.ends)]

    def cpu_share(self, seconds: list[float]) -> float:
        """Processor time over wall time and threads in the measured steps: well below 1, others used the processor."""
        busy = self.busy[self.warm_up :]
        return (busy[-1] - busy[0]) / sum(seconds) / torch.get_num_threads()


def _event() -> Any:
    event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
