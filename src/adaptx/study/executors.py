"""Where units run: in this process or in a pool of processes. Each takes units and gives back outcomes.

An executor knows nothing of a study's order; `run` feeds it units whose needs are finished. All of them, those of
`clusters` too, call the same `Worker`. On a CPU the number of threads changes rounding: results are equal to the bit
where every worker has as many threads (OMP_NUM_THREADS, or `study run --threads`).
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

from adaptx import backbones, libraries
from adaptx.config import Settings
from adaptx.study.plan import Step, Study
from adaptx.study.work import Outcome, Unit, Worker, failure
from adaptx.training import Report

Work = Callable[[Unit, Mapping[Step, Path]], Outcome]
ATTEMPTS = 2  # of a unit whose process died under it


class Executor(Protocol):
    """`capacity` units may be under way at a time."""

    capacity: int

    def submit(self, unit: Unit, folders: Mapping[Step, Path]) -> None:
        """Start a unit."""

    def result(self) -> tuple[Unit, Outcome]:
        """Wait for the next finished unit."""

    def close(self) -> None:
        """Give everything back."""


class InProcess:
    """One unit at a time, here: the backbone and the tokenised data are loaded once."""

    capacity = 1

    def __init__(self, settings: Settings, study: Study, report: Report) -> None:
        self._worker = Worker(settings, study, report)
        self._queue: deque[tuple[Unit, Mapping[Step, Path]]] = deque()

    def submit(self, unit: Unit, folders: Mapping[Step, Path]) -> None:
        self._queue.append((unit, folders))

    def result(self) -> tuple[Unit, Outcome]:
        unit, folders = self._queue.popleft()
        return unit, self._worker(unit, folders)

    def close(self) -> None:
        self._queue.clear()


_of_this_process: dict[str, Worker] = {}


def _start(settings: Settings, study: Study, threads: int, parent: int) -> None:
    """Prepare a pool's process: one worker, its share of the cores, and an end when the parent's comes."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    libraries.ours()
    backbones.quiet()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _of_this_process["worker"] = Worker(settings, study)


def _end_with(parent: int) -> None:
    """A pool's process that outlives a killed parent would hold its run's lock."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _do(unit: Unit, folders: Mapping[Step, Path]) -> Outcome:
    return _of_this_process["worker"](unit, folders)


def threads_each(workers: int) -> int:
    """A worker's share of the cores, or what OMP_NUM_THREADS says."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() else max(1, len(os.sched_getaffinity(0)) // workers)


class Pool:
    """Processes of this machine, each a pool of one: when one dies, its unit is known. It is tried once more, then
    failed; the units beside it go on."""

    def __init__(self, settings: Settings, study: Study, workers: int, work: Work = _do) -> None:
        self.capacity, self._work = workers, work
        self._start = (settings, study, threads_each(workers), os.getpid())
        self._idle = [self._fresh() for _ in range(workers)]
        self._running: dict[Future[Outcome], tuple[ProcessPoolExecutor, Unit, Mapping[Step, Path]]] = {}
        self._attempts: dict[Unit, int] = {}

    def _fresh(self) -> ProcessPoolExecutor:
        # fork would copy torch's threads and locks
        return ProcessPoolExecutor(1, get_context("spawn"), _start, self._start)

    def submit(self, unit: Unit, folders: Mapping[Step, Path]) -> None:
        self._attempts[unit] = self._attempts.get(unit, 0) + 1
        process = self._idle.pop()
        try:
            future = process.submit(self._work, unit, folders)
        except BrokenProcessPool:  # it died while it had nothing to do
            process = self._fresh()
            future = process.submit(self._work, unit, folders)
        self._running[future] = (process, unit, folders)

    def result(self) -> tuple[Unit, Outcome]:
        while True:
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            future = next(iter(done))
            process, unit, folders = self._running.pop(future)
            try:
                outcome = future.result()
            except BrokenProcessPool:
                process.shutdown(wait=False)
                self._idle.append(self._fresh())
                if self._attempts[unit] >= ATTEMPTS:
                    return unit, failure("AX091", f"the process that ran {unit.label} died {ATTEMPTS} times.")
                self.submit(unit, folders)
                continue
            self._idle.append(process)
            return unit, outcome

    def close(self) -> None:
        for process in (*self._idle, *(entry[0] for entry in self._running.values())):
            process.shutdown(wait=False, cancel_futures=True)
