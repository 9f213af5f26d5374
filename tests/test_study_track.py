"""Trackers get each unit once: its parameters, its scores and its loss curve."""

import sys
from pathlib import Path
from typing import Any

import pytest

from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.study import executors, pick, track
from adaptx.study.plan import Plan
from adaptx.study.run import run
from adaptx.study.work import MOST_POINTS, Curve
from adaptx.training import silent
from study_toy import planned


def small(settings: Settings) -> Plan:
    """One language, one seed: an intermediate run, a target run, two scores."""
    return planned(settings, sources=["qaa"], baselines=[], seeds=[0])


def tracked(plan: Plan, settings: Settings, name: str) -> None:
    run(plan, settings, executors.InProcess(settings, plan.study, silent), tracker=pick.tracker(name, plan, settings))


def test_tensorboard_gets_every_unit_once(settings: Settings) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plan = small(settings)
    tracked(plan, settings, "tensorboard")
    folder = plan.folder(settings.store) / "tensorboard"

    def read() -> dict[str, Any]:
        found = {}
        for place in sorted(folder.iterdir()):
            assert len(list(place.iterdir())) == 1, "one file of events"
            events = EventAccumulator(str(place)).Reload()
            found[place.name] = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
        return found

    found = read()
    assert found.keys() == {track.name_of(u) for u in (*plan.steps, *plan.cells)} and len(found) == 4
    step = found["qaa-toynli-pfeiffer-seed-0"]
    assert [e.step for e in step["train/loss"]] == list(range(1, len(step["train/loss"]) + 1))
    assert 0 <= step["score/accuracy"][0].value <= 1 and step["cost/tokens"][0].value > 0
    cell = found["qaa-toynli-pfeiffer-seed-0-on-toypairs"]
    assert cell.keys() == {"score/accuracy", "score/reverse_accuracy"}
    tracked(plan, settings, "tensorboard")
    assert read().keys() == found.keys(), "what was found again is not told again"


def test_mlflow_gets_every_unit_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    plan = small(settings)
    for _ in range(2):
        tracked(plan, settings, "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{plan.folder(settings.store) / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == plan.id]
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {u.label for u in (*plan.steps, *plan.cells)}
    step = runs["qaa/toynli:pfeiffer seed 0"]
    assert step.data.params["stage"] == "intermediate" and 0 <= step.data.metrics["score/accuracy"] <= 1
    assert len(client.get_metric_history(step.info.run_id, "train/loss")) > 1


def test_trackio_gets_every_unit(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    plan = small(settings)
    tracked(plan, settings, "trackio")
    assert list((tmp_path / "trackio").glob(f"{plan.id}*.db"))


def test_a_tracker_that_is_missing_is_named_with_what_brings_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(settings)
    for module, name, extra in (
        ("torch.utils.tensorboard", "tensorboard", "track"),
        ("mlflow", "mlflow", "mlflow"),
        ("trackio", "trackio", "trackio"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(AdaptxError, match=rf"AX033.*{name} is not installed.*adaptx\[{extra}\]"):
            pick.tracker(name, plan, settings)
    with pytest.raises(AdaptxError, match="AX010"):
        pick.tracker("wandb", plan, settings)
    assert pick.tracker(None, plan, settings) is None


def test_a_long_curve_is_thinned_and_keeps_its_end() -> None:
    heard: list[str] = []
    curve = Curve(lambda event, _: heard.append(event))
    curve("start", {})
    for step in range(1, 1002):
        curve("step", {"step": step, "loss": 1 / step})
    points = curve.thinned()
    assert len(points) <= MOST_POINTS and points[-1] == (1001, 1 / 1001)
    assert len(heard) == 1002, "everything is passed on"
    assert Curve(silent).thinned() == ()
