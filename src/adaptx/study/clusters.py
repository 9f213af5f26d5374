"""Executors for more than one machine: actors on a Ray cluster, jobs under SLURM.

Both need the store, the data and the cache under the same paths on every machine. Neither library is imported before
it is asked for.
"""

import os
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.study.executors import ATTEMPTS, threads_each
from adaptx.study.plan import Step, Study
from adaptx.study.work import Outcome, Unit, Worker, failure

POLL_SECONDS = 1.0
CONNECT_SECONDS = 10.0


class OnRay:
    """Actors on a Ray cluster, started here or joined at `address`; each holds its cores, and a GPU if `gpu`.

    Raises AX033 without Ray, AX071 where the cluster has no room for a single actor. Fewer actors than `workers` are
    made where it has no room for all. Source: Ray documentation, "Actors" and "Resources".
    """

    def __init__(self, settings: Settings, study: Study, workers: int, address: str | None, gpu: bool) -> None:
        try:
            import ray
        except ImportError:
            raise AdaptxError("AX033", "--executor ray", "ray is not installed.", "pip install 'adaptx[ray]'") from None
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        threads = threads_each(workers)
        if self._ours:
            local: dict[str, Any] = {} if address else {"num_cpus": workers * threads, "include_dashboard": False}
            try:
                check_answers(address)
                ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
            except (OSError, ValueError, RuntimeError) as error:
                why = f"no Ray cluster answers there ({' '.join(str(error).split())[:200]})."
                fix = "Give HOST:PORT of its head node, ray://HOST:PORT, or auto on a node of it."
                raise AdaptxError("AX070", f"--ray-address {address}", why, fix) from None
        have = ray.cluster_resources()
        room = int(have.get("CPU", 0) // threads)
        if gpu:
            room = min(room, int(have.get("GPU", 0)))
        if room < 1:
            self.close()
            found = f"{have.get('CPU', 0):.0f} CPUs and {have.get('GPU', 0):.0f} GPUs"
            needed = f"{threads} CPU{'s' if threads > 1 else ''}{' and a GPU' if gpu else ''}"
            raise AdaptxError("AX071", "--executor ray", f"the cluster has {found}, a worker needs {needed}.")
        self.capacity = min(workers, room)
        environment = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        options = {"num_cpus": threads, "num_gpus": int(gpu), "runtime_env": {"env_vars": environment}}
        self._make: Any = lambda: ray.remote(Worker).options(**options).remote(settings, study)
        self._idle: list[Any] = [self._make() for _ in range(self.capacity)]
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
        if self._ours:
            self._ray.shutdown()


def check_answers(address: str | None) -> None:
    """Raise OSError where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _alone(settings: Settings, study: Study, unit: Unit, folders: Mapping[Step, Path]) -> Outcome:
    """A unit in a process of its own."""
    return Worker(settings, study)(unit, folders)


class OnSlurm:
    """A SLURM job for every unit, `workers` at a time, submitted with submitit; its logs are in `<study>/slurm`.

    `options` go to sbatch by submitit's names, for example slurm_partition, timeout_min, gpus_per_node. `cluster`:
    "local" runs the same jobs as processes here. Raises AX033 without submitit or without SLURM.
    """

    def __init__(
        self,
        settings: Settings,
        study: Study,
        workers: int,
        folder: Path,
        options: Mapping[str, str | int],
        cluster: str = "slurm",
    ) -> None:
        try:
            import submitit
        except ImportError:
            fix = "pip install 'adaptx[slurm]'"
            raise AdaptxError("AX033", "--executor slurm", "submitit is not installed.", fix) from None
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise AdaptxError("AX033", "--executor slurm", "there is no sbatch here.", "Run it on a SLURM login node.")
        self.capacity = workers
        self._executor: Any = submitit.AutoExecutor(folder=folder / "slurm" / "%j", cluster=cluster)
        self._executor.update_parameters(name="adaptx", **{"timeout_min": 24 * 60, **options})
        self._failed: Any = (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError)
        self._given = (settings, study)
        self._running: list[tuple[Any, Unit, Mapping[Step, Path]]] = []
        self._attempts: dict[Unit, int] = {}

    def submit(self, unit: Unit, folders: Mapping[Step, Path]) -> None:
        self._attempts[unit] = self._attempts.get(unit, 0) + 1
        job = self._executor.submit(_alone, *self._given, unit, dict(folders))
        self._running.append((job, unit, folders))

    def result(self) -> tuple[Unit, Outcome]:
        while True:
            done = next((entry for entry in self._running if entry[0].done()), None)
            if done is None:
                time.sleep(POLL_SECONDS)
                continue
            self._running.remove(done)
            job, unit, folders = done
            try:
                outcome: Outcome = job.result()
                return unit, outcome
            except self._failed as error:
                if self._attempts[unit] >= ATTEMPTS:
                    last = str(error).strip().splitlines()[-1:]
                    return unit, failure("AX091", f"the job that ran {unit.label} died: {' '.join(last)}.")
                self.submit(unit, folders)

    def close(self) -> None:
        """Cancel what still runs."""
        for job, _, _ in self._running:
            job.cancel()


def wants_gpu(settings: Settings) -> bool:
    """Whether an actor should hold a GPU: the device says so, or it is auto and this machine has one."""
    if settings.device != "auto":
        return settings.device.startswith("cuda")
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    import torch

    return bool(torch.cuda.is_available())
