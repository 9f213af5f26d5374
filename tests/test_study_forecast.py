"""What a study will cost: what is done is not counted, what is left is counted by rates that were measured."""

from pathlib import Path

import pytest

from adaptx.config import Settings
from adaptx.study import forecast as forecasts
from adaptx.study.forecast import Rate, forecast
from adaptx.study.plan import Step
from adaptx.study.work import Worker
from study_toy import in_process, planned


def test_without_a_rate_there_is_no_estimate_and_measuring_gives_one_and_leaves_nothing(
    settings: Settings,
) -> None:
    plan = planned(settings)
    blind = forecast(plan, settings)
    assert (len(blind.left), len(blind.cells_left), blind.seconds) == (10, 12, None) and blind.tokens > 0
    measured = forecast(plan, settings, measure=True)
    assert measured.training_seconds and measured.scoring_seconds and measured.seconds
    assert len(measured.origins) == 2, "one rate for each task and method"
    assert all("measured steps of" in origin for origin in measured.origins)
    assert not settings.store.exists()


def test_what_is_in_the_store_costs_nothing(settings: Settings) -> None:
    part, whole = planned(settings, seeds=[0]), planned(settings)
    in_process(part, settings)
    value = forecast(part, settings)
    assert (len(value.done), value.left, value.cells_left, value.seconds) == (5, (), (), 0.0)
    more = forecast(whole, settings, measure=True)
    assert len(more.done) == 5 and {s.seed for s in more.left} == {1}
    assert len(more.cells_left) == 12, "another study has scored nothing yet"


def test_a_lost_run_is_counted_again_with_the_scores_on_it(settings: Settings) -> None:
    import shutil

    plan = planned(settings, seeds=[0])
    in_process(plan, settings)
    (lost,) = settings.store.glob("*/qaa/toynli/*/*/")
    shutil.rmtree(lost)
    value = forecast(plan, settings)
    assert {f"{s.lang}/{s.task}" for s in value.left} == {"qaa/toynli", "en/toypos"}, "it and what started from it"
    assert {c.source for c in value.cells_left} == {"qaa"} and len(value.cells_left) == 2


def test_the_time_of_a_run_by_hand(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = planned(settings, intermediate={"epochs": 2, "batch_tokens": 128})
    job = Worker(settings, plan.study).job(Step("intermediate", "qaa", "toynli", "pfeiffer", 0), {})
    sizes = {40: 400.0, 12: 120.0, 16: 160.0}  # tokens of train, dev, test
    monkeypatch.setattr(forecasts, "tokens_in", lambda examples: sizes[len(examples)])
    monkeypatch.setattr(forecasts, "planned_tokens", lambda job: 800.0)
    # 800 tokens at 100/s, two dev scores and a test score of 120 + 120 + 160 at 200/s, 3 s before
    assert forecasts._seconds(job, Rate(100.0, 200.0, 3.0, "")) == pytest.approx(8 + 2 + 3)
    assert forecasts._seconds(job, None) is None
