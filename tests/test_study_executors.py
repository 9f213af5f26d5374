"""Wherever a study's units run, the table is the same; what an executor lacks is said, and a worker that dies is named."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import toy
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.study import clusters, executors, pick
from adaptx.study.plan import Cell, Plan, Step
from adaptx.study.run import run
from adaptx.study.work import Outcome, Unit
from study_toy import in_process, lasting, planned


@pytest.fixture(scope="module")
def finished(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Settings]:
    chosen = toy.settings(world, tmp_path_factory.mktemp("study") / "store")
    plan = planned(chosen)
    in_process(plan, chosen)
    return plan, chosen


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(finished: tuple[Plan, Settings], tmp_path: Path) -> None:
    plan, chosen = finished
    elsewhere = replace(chosen, store=tmp_path / "store")
    summary = run(plan, elsewhere, executors.Pool(elsewhere, plan.study, 2))
    assert summary.trained == 10 and lasting(plan, elsewhere) == lasting(plan, chosen)


@pytest.mark.slow
def test_two_ray_actors_give_the_table_of_one_process(finished: tuple[Plan, Settings], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    plan, chosen = finished
    elsewhere = replace(chosen, store=tmp_path / "store")
    made = clusters.OnRay(elsewhere, plan.study, 2, None, gpu=False)
    assert made.capacity == 2
    summary = run(plan, elsewhere, made)
    assert summary.trained == 10 and lasting(plan, elsewhere) == lasting(plan, chosen)


@pytest.mark.slow
def test_a_cluster_without_room_is_refused_at_once_and_one_with_less_gets_fewer_actors(settings: Settings) -> None:
    ray = pytest.importorskip("ray")
    study = planned(settings).study
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        with pytest.raises(AdaptxError, match=r"AX071.*0 GPUs, a worker needs 1 CPU and a GPU"):
            clusters.OnRay(settings, study, 1, None, gpu=True)
        made = clusters.OnRay(settings, study, 4, None, gpu=False)
        assert made.capacity == 1
        made.close()
        assert ray.is_initialized(), "a cluster that was there before is left alone"
    finally:
        ray.shutdown()
    with pytest.raises(AdaptxError, match=r"AX070.*--ray-address"):
        clusters.OnRay(settings, study, 1, "127.0.0.1:1", gpu=False)


@pytest.mark.slow
def test_jobs_as_slurm_would_start_them_give_the_table_of_one_process(
    finished: tuple[Plan, Settings], tmp_path: Path
) -> None:
    pytest.importorskip("submitit")
    _, chosen = finished
    plan = planned(chosen, sources=["qaa"], baselines=[], seeds=[0], targets=["toypairs"])
    elsewhere = replace(chosen, store=tmp_path / "store")
    in_process(plan, chosen)
    made = clusters.OnSlurm(elsewhere, plan.study, 2, plan.folder(elsewhere.store), {"timeout_min": 5}, "local")
    summary = run(plan, elsewhere, made)
    assert (summary.trained, summary.scored) == (1, 1) and lasting(plan, elsewhere) == lasting(plan, chosen)


def test_what_is_missing_is_named_with_the_extra_that_brings_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = planned(settings)
    for package, name in (("ray", "ray"), ("submitit", "slurm")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(AdaptxError, match=rf"AX033.*adaptx\[{name}\]"):
                pick.executor(name, plan, settings)
    monkeypatch.setenv("PATH", str(tmp_path))
    pytest.importorskip("submitit")
    with pytest.raises(AdaptxError, match=r"AX033.*no sbatch"):
        pick.executor("slurm", plan, settings)
    with pytest.raises(AdaptxError, match=r"AX010.*Did you mean pool"):
        pick.executor("pol", plan, settings)


def test_options_for_slurm_are_pairs() -> None:
    found = pick.slurm_options(["slurm_partition=gpu", "timeout_min=60"])
    assert found == {"slurm_partition": "gpu", "timeout_min": 60}
    for wrong in ("partition", "=gpu", "a b=1", "timeout_min="):
        with pytest.raises(AdaptxError, match="AX070"):
            pick.slurm_options([wrong])


def dying(unit: Unit, folders: Mapping[Step, Path]) -> Outcome:
    """Work that kills its process on one language and is done at once elsewhere."""
    if isinstance(unit, Step) and unit.lang == "qaa":
        os.kill(os.getpid(), signal.SIGKILL)
    if isinstance(unit, Cell):
        return Outcome("scored", {"metrics": {}, "intervals": {}})
    return Outcome("trained", {"run": unit.label, "folder": "."})


def test_a_unit_whose_process_dies_twice_fails_alone(settings: Settings) -> None:
    plan = planned(settings, seeds=[0], targets=["toypos"])
    summary = run(plan, settings, executors.Pool(settings, plan.study, 2, work=dying))
    died = [name for name, why in summary.failed.items() if "died 2 times" in why and "not run" not in why]
    assert died == ["qaa/toynli:pfeiffer seed 0"]
    assert all("qaa/toynli" in name for name in summary.failed), "what ran beside it is not blamed"
    assert (summary.trained, summary.scored) == (3, 2)
