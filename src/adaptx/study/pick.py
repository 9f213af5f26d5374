"""The executor and the tracker that a name stands for. Nothing is started before it is picked."""

import os
import sys
from collections.abc import Mapping
from typing import Literal, get_args

from adaptx import backbones
from adaptx.config import Settings
from adaptx.errors import AdaptxError, unknown_name
from adaptx.study.clusters import OnRay, OnSlurm, wants_gpu
from adaptx.study.executors import Executor, InProcess, Pool
from adaptx.study.plan import Plan
from adaptx.study.track import TRACKERS, Tracker
from adaptx.training import Report, silent

ExecutorName = Literal["inprocess", "pool", "ray", "slurm"]


def executor(
    name: str,
    plan: Plan,
    settings: Settings,
    report: Report = silent,
    *,
    workers: int = 2,
    threads: int | None = None,
    ray_address: str | None = None,
    slurm: Mapping[str, str | int] | None = None,
) -> Executor:
    """The executor called `name`; `threads`: of every worker (default: OMP_NUM_THREADS, else its share of the cores).

    `report` hears of single training steps in-process alone. Raises AX010 for an unknown name, AX033 where a package
    is missing, AX071 where there is no such device or a cluster has no room.
    """
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is first imported, here and in workers
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
    if name in ("inprocess", "pool"):
        backbones.pick_device(settings.device)  # what every unit would fail for is said once
    if name == "inprocess":
        return InProcess(settings, plan.study, report)
    if name == "pool":
        return Pool(settings, plan.study, workers)
    if name == "ray":
        return OnRay(settings, plan.study, workers, ray_address, wants_gpu(settings))
    if name == "slurm":
        return OnSlurm(settings, plan.study, workers, plan.folder(settings.store), slurm or {})
    raise unknown_name("AX010", name, get_args(ExecutorName))


def tracker(name: str | None, plan: Plan, settings: Settings) -> Tracker | None:
    """The tracker called `name`, or none. Raises AX010 for an unknown name, AX033 where its package is missing."""
    if name is None:
        return None
    if name not in TRACKERS:
        raise unknown_name("AX010", name, TRACKERS)
    return TRACKERS[name](plan.folder(settings.store), plan.id)


def slurm_options(pairs: list[str]) -> dict[str, str | int]:
    """`KEY=VALUE` words as submitit's options. Raises AX070."""
    out: dict[str, str | int] = {}
    for pair in pairs:
        key, equal, value = pair.partition("=")
        if not equal or not key.isidentifier() or not value:
            raise AdaptxError("AX070", f"--slurm {pair}", "expected KEY=VALUE, for example slurm_partition=gpu.")
        out[key] = int(value) if value.isdigit() else value
    return out
