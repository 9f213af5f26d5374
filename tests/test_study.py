"""The study law: every recipe once, the same results whatever happens on the way, failures told and passed by."""

import json
from pathlib import Path
from typing import Any

import pytest

import toy
from adaptx.chance import Chance, chance_level
from adaptx.config import Settings
from adaptx.data.examples import SpanExample, TextExample, WordsExample
from adaptx.errors import AdaptxError
from adaptx.study import journal, results
from adaptx.study.plan import Plan, read
from adaptx.study.run import Summary, status
from study_toy import VALUES, in_process, planned


@pytest.fixture(scope="module")
def finished(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Settings, Summary]:
    chosen = toy.settings(world, tmp_path_factory.mktemp("study") / "store")
    plan = planned(chosen)
    return plan, chosen, in_process(plan, chosen)


def test_the_grid_has_every_combination_once_and_shares_steps(settings: Settings) -> None:
    plan = planned(settings)
    # 2 seeds x (none, en/toynli, qaa/toynli) x 2 targets; retrieval needs no target adapter.
    assert len(plan.cells) == 12
    assert [s.stage for s in plan.steps].count("intermediate") == 4
    assert [s.stage for s in plan.steps].count("target") == 6
    for i, step in enumerate(plan.steps):
        assert all(s in plan.steps[:i] for s in step.needs)


def test_baselines_add_what_they_name_and_nothing_else(settings: Settings) -> None:
    def systems(*baselines: str) -> set[tuple[str, str]]:
        plan = planned(settings, sources=["qaa"], baselines=list(baselines), seeds=[0])
        return {(c.source, c.method) for c in plan.cells}

    assert systems() == {("qaa", "pfeiffer")}
    assert systems("none") == {("qaa", "pfeiffer"), ("none", "pfeiffer")}
    assert systems("english") == {("qaa", "pfeiffer"), ("en", "pfeiffer")}
    assert systems("full") == {("qaa", "pfeiffer"), ("none", "full")}


def test_a_source_without_data_is_a_gap_and_a_study_without_cells_an_error(settings: Settings) -> None:
    plan = planned(settings, sources=["en", "sv"])
    assert [g.what for g in plan.gaps] == ["sv/toynli"]
    assert {c.source for c in plan.cells} == {"none", "en"}
    with pytest.raises(AdaptxError, match="AX014"):
        planned(settings, sources=["sv"], baselines=[])


def test_all_faults_of_a_study_file_are_named_at_once(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps({**VALUES, "sources": ["xx"], "tasks": ["toynlj"], "methods": ["lorra"], "seeds": []}))
    with pytest.raises(AdaptxError) as caught:
        read(file, settings)
    assert caught.value.code == "AX010"
    for name in ("xx", "toynlj", "lorra", "seeds"):
        assert name in str(caught.value)
    file.write_text(json.dumps(VALUES))
    assert read(file, settings).seeds == (0, 1)


def test_ablations_stand_on_language_adapters_share_the_target_adapter_and_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {
        "seeds": [0],
        "sources": ["qaa"],
        "baselines": [],
        "targets": ["toypos"],
        "ablations": ["language_adapters"],
    }
    monkeypatch.setattr("adaptx.study.plan.LANGUAGE_TASK", "nothing-here")
    with pytest.raises(AdaptxError, match="AX002"):
        planned(settings, **asked)
    monkeypatch.setattr("adaptx.study.plan.LANGUAGE_TASK", "toytext")
    plan = planned(settings, **asked)
    assert [[f"{s.lang}/{s.task}" for s in c.stack] for c in plan.cells] == [
        ["en/toypos"],
        ["qaa/toytext", "en/toypos"],
        ["en/toytext", "en/toypos"],
        ["en/toypos"],
    ]
    trained = [c.trained for c in plan.cells]
    assert trained[1] == trained[2] == trained[3] != trained[0]
    summary = in_process(plan, settings)
    assert (summary.trained, summary.failed) == (6, {})  # two language adapters, two intermediates, two targets
    scores = results.read(plan, settings.store).query("leading")["stack"]
    assert len(set(scores)) == 4


def test_a_study_trains_scores_and_writes_one_row_per_cell_and_metric(
    finished: tuple[Plan, Settings, Summary],
) -> None:
    plan, chosen, summary = finished
    assert (summary.trained, summary.scored, summary.failed) == (10, 12, {})
    table = results.read(plan, chosen.store)
    assert len(table) == 6 * 2 + 6 * 2  # F1 and accuracy of tagging, both directions of retrieval
    assert table["score"].between(0, 1).all()
    assert (table["low"] <= table["score"]).all() and (table["score"] <= table["high"]).all()
    assert table.loc[table["target"] == "toypos", "target_run"].str.len().eq(64).all()
    assert (table.loc[table["target"] == "toypairs", "target_run"] == "").all()
    value = status(plan, chosen.store)
    assert len(value.done) == value.steps + value.cells and not value.open


def test_the_files_of_a_run_are_the_table_of_its_journal(finished: tuple[Plan, Settings, Summary]) -> None:
    import pandas as pd

    plan, chosen, summary = finished
    table = results.read(plan, chosen.store)
    whole, text = (next(f for f in summary.files if f.suffix == kind) for kind in (".parquet", ".csv"))
    pd.testing.assert_frame_equal(pd.read_parquet(whole), table)
    assert text.read_text("utf-8") == table.to_csv(index=False)


def test_a_second_run_trains_nothing_and_gives_the_same_table(finished: tuple[Plan, Settings, Summary]) -> None:
    plan, chosen, _ = finished
    before = results.read(plan, chosen.store).to_csv(index=False)
    again = in_process(plan, chosen)
    assert (again.trained, again.found, again.scored) == (0, 10, 12)
    assert results.read(plan, chosen.store).to_csv(index=False) == before


def test_another_study_finds_the_shared_runs(finished: tuple[Plan, Settings, Summary]) -> None:
    _, chosen, _ = finished
    other = planned(chosen, sources=["qaa"], baselines=["none"], title="smaller")
    assert in_process(other, chosen).trained == 0


def test_a_failed_run_is_recorded_its_children_left_out_and_the_rest_goes_on(
    world: toy.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptx import training

    chosen = toy.settings(world, tmp_path / "store")
    plan = planned(chosen, seeds=[0])
    real = training.run

    def breaking(job: Any, *rest: Any) -> Any:
        if job.recipe.task == "toynli" and job.recipe.lang == "en":
            raise AdaptxError("AX040", "loss nan", "the loss is no longer a number.")
        return real(job, *rest)

    monkeypatch.setattr(training, "run", breaking)
    summary = in_process(plan, chosen)
    assert len(summary.failed) == 4  # the run, its target adapter, and two cells
    table = results.read(plan, chosen.store)
    failed = table[table["status"] == "failed"]
    assert set(failed["source"]) == {"en"} and failed["score"].isna().all()
    assert failed["flags"].str.contains("no longer a number").all() and failed["flags"].str.contains("collapsed").all()
    assert table.loc[table["source"] != "en", "score"].notna().all()
    monkeypatch.setattr(training, "run", real)
    assert in_process(plan, chosen).failed == {}
    assert status(plan, chosen.store).failed == {}


def test_a_collapsed_run_marks_everything_that_stands_on_it_and_nothing_else(
    world: toy.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptx.study import work

    def hard(task: Any, examples: Any) -> Chance:
        """A constant answer that is always right on one task and never on the others."""
        return Chance("accuracy", 1.0 if task.id == "toynli" else -1.0)

    monkeypatch.setattr(work, "chance_level", hard)
    chosen = toy.settings(world, tmp_path / "store")
    plan = planned(chosen, seeds=[0], sources=["qaa"])
    summary = in_process(plan, chosen)
    assert set(summary.collapsed) == {"qaa/toynli:pfeiffer seed 0", "en/toynli:pfeiffer seed 0"}
    assert not summary.failed, "a collapsed run is not a failed one"
    table = results.read(plan, chosen.store)
    assert (table["status"] == "collapsed").equals(table["source"] != "none")
    flags = table.loc[table["source"] == "qaa", "flags"]
    assert flags.eq("collapsed: qaa/toynli:pfeiffer seed 0").all()
    assert table["score"].notna().all(), "its scores are kept"


def test_a_torn_line_is_no_event_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    journal.append(tmp_path, "trained", "a", run="1")
    with open(tmp_path / journal.FILE, "a", encoding="utf-8") as file:
        file.write('{"event": "trained", "what": "b", "ru')
    assert [e["what"] for e in journal.events(tmp_path)] == ["a"]
    journal.append(tmp_path, "trained", "c", run="3")
    assert [e["what"] for e in journal.events(tmp_path)] == ["a", "c"]


def test_the_chance_level_is_the_score_of_the_majority_answer(settings: Settings) -> None:
    nli, pos = settings.registry.task("toynli"), settings.registry.task("toypos")
    texts = [TextExample(str(i), "a", None, label) for i, label in enumerate(["entailment"] * 3 + ["neutral"])]
    assert chance_level(nli, texts) == Chance("accuracy", 0.75)
    words = [WordsExample("0", ("a", "b"), ("NOUN", "NOUN")), WordsExample("1", ("a",), ("VERB",))]
    level = chance_level(pos, words)
    assert level is not None and (level.metric, level.level) == ("accuracy", pytest.approx(2 / 3))
    names = [WordsExample("0", ("a", "b", "c"), ("O", "O", "B-PER"))]
    assert chance_level(settings.registry.task("panx"), names) == Chance("f1", 0.0)
    spans = [SpanExample("0", "q", "c", ()), SpanExample("1", "q", "c", (("c", 0),))]
    found = chance_level(settings.registry.task("squad_v2"), spans)
    assert found is not None and found.level == 0.5
    three_quarters = Chance("accuracy", 0.75)
    assert three_quarters.collapsed({"accuracy": 0.75}) and not three_quarters.collapsed({"accuracy": 0.76})
    assert not three_quarters.collapsed({})


def test_planning_needs_neither_torch_nor_pandas() -> None:
    code = "import sys, adaptx.cli.study, adaptx.study.run, adaptx.study.executors\n"
    code += "print([m for m in ('torch', 'transformers', 'pandas', 'ray', 'scipy') if m in sys.modules])"
    assert toy.python(code).strip() == "[]"
