"""Where units run: in this process, in a pool of processes, or on Ray. Each takes units and gives back outcomes.

An executor knows nothing of a study's order; `run` feeds it units whose needs are finished. All of them call the same
`Worker`. On a CPU the number of threads changes rounding: with OMP_NUM_THREADS set, results are equal to the bit.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from adaptx import backbones
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.study.plan import Step, Study
from adaptx.study.work import Outcome, Unit, Worker, failure
from adaptx.training import Report

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
    """Processes of this machine. A unit whose process dies is tried once more, then failed."""

    def __init__(self, settings: Settings, study: Study, workers: int) -> None:
        self.capacity = workers
        self._start = (settings, study, threads_each(workers), os.getpid())
        self._pool = self._fresh()
        self._running: dict[Future[Outcome], tuple[Unit, Mapping[Step, Path]]] = {}
        self._attempts: dict[Unit, int] = {}

    def _fresh(self) -> ProcessPoolExecutor:
        # fork would copy torch's threads and locks
        return ProcessPoolExecutor(self.capacity, get_context("spawn"), _start, self._start)

    def submit(self, unit: Unit, folders: Mapping[Step, Path]) -> None:
        self._attempts[unit] = self._attempts.get(unit, 0) + 1
        try:
            self._running[self._pool.submit(_do, unit, folders)] = (unit, folders)
        except BrokenProcessPool:
            self._pool = self._fresh()
            self._running[self._pool.submit(_do, unit, folders)] = (unit, folders)

    def result(self) -> tuple[Unit, Outcome]:
        while True:
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            future = next(iter(done))
            unit, folders = self._running.pop(future)
            try:
                return unit, future.result()
            except BrokenProcessPool:
                if self._attempts[unit] >= ATTEMPTS:
                    return unit, failure("AX091", f"the process that ran {unit.label} died {ATTEMPTS} times.")
                self.submit(unit, folders)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class OnRay:
    """Actors on a Ray cluster, local or at `address`; each holds a GPU where the device is one.

    The store, the data and the cache must be reachable under the same paths on every machine.
    Source: Ray 2.60 documentation, actors and `ray.wait`.
    """

    def __init__(self, settings: Settings, study: Study, workers: int, address: str | None, gpu: bool) -> None:
        try:
            import ray
        except ImportError:
            raise AdaptxError("AX033", "--executor ray", "ray is not installed.", "pip install 'adaptx[ray]'") from None
        self._ray: Any = ray
        self.capacity = workers
        threads = threads_each(workers)
        if not ray.is_initialized():
            local: dict[str, Any] = {} if address else {"num_cpus": workers * threads, "include_dashboard": False}
            ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
        environment = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        self._make: Any = lambda: (
            ray.remote(Worker)
            .options(num_cpus=threads, num_gpus=int(gpu), runtime_env={"env_vars": environment})
            .remote(settings, study)
        )
        self._idle: list[Any] = [self._make() for _ in range(workers)]
        self._running: dict[Any, tuple[Any, Unit, Mapping[Step, Path]]] = {}
        self._attempts: dict[Unit, int] = {}

    def submit(self, unit: Unit, folders: Mapping[Step, Path]) -> None:
        self._attempts[unit] = self._attempts.get(unit, 0) + 1
        actor = self._idle.pop()
        self._running[actor.__call__.remote(unit, folders)] = (actor, unit, folders)

    def result(self) -> tuple[Unit, Outcome]:
        while True:
            done, _ = self._ray.wait(list(self._running), num_returns=1)
            actor, unit, folders = self._running.pop(done[0])
            try:
                outcome: Outcome = self._ray.get(done[0])
            except self._ray.exceptions.RayActorError as error:
                self._idle.append(self._make())
                if self._attempts[unit] >= ATTEMPTS:
                    return unit, failure("AX091", f"the process that ran {unit.label} died: {error}.")
                self.submit(unit, folders)
                continue
            self._idle.append(actor)
            return unit, outcome

    def close(self) -> None:
        self._ray.shutdown()
