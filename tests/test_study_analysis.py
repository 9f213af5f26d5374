"""What an analysis finds in a table with planted effects, and that its sentences claim no more."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import toy
from adaptx.config import Settings
from adaptx.registry import Registry
from adaptx.study import analysis as analyses
from adaptx.study import kinship
from adaptx.study.analysis import RANDOM, grid
from adaptx.study.findings import Analysis
from adaptx.study.sentences import limits, say, shows
from study_made import EFFECTS, analysed, fabricated
from study_toy import in_process, planned


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysed(tmp_path_factory.mktemp("store"))


def test_the_planted_difference_is_significant_and_equal_systems_are_not(analysis: Analysis) -> None:
    found = {(d.system.source, d.system.task, d.against): d.significant for d in analysis.deltas}
    assert found["sv", "anli", "none"] and found["sv", "anli", "English"]
    assert not found["en", "anli", "none"]
    assert ("en", "anli", "English") not in found, "a system is not compared with itself"
    assert ("none", "none", "none") not in found


def test_where_full_fine_tuning_was_run_everything_is_compared_with_it(tmp_path: Path, analysis: Analysis) -> None:
    assert {d.against for d in analysis.deltas} == {"English", "none"}
    table = fabricated(tmp_path)
    baseline = table[table["source"] == "none"].assign(method="full")
    deltas = analyses._deltas(pd.concat([table, baseline], ignore_index=True), tmp_path)
    found = {d.system.name: d for d in deltas if d.against == "full"}
    assert found.keys() == {f"{s}/{t} (pfeiffer)" for s in ("en", "sv") for t in ("anli", "qqp")} | {
        "no intermediate task (pfeiffer)"
    }
    assert found["sv/anli (pfeiffer)"].significant
    same = found["no intermediate task (pfeiffer)"].result
    assert (same.delta, same.p_value) == (0.0, 1.0), "the same scores under another name"


@pytest.mark.slow
def test_in_a_thousand_studies_without_an_effect_one_in_twenty_claims_any(tmp_path: Path) -> None:
    claims = 0
    for seed in range(1000):
        store = tmp_path / str(seed)  # writing over a file would wait for the disk
        table = fabricated(store, effects=dict.fromkeys(EFFECTS, 0.0), seed=seed, items=60)
        found = [d.significant for d in analyses._deltas(table, store) if d.against == "none"]
        assert len(found) == 4
        claims += any(found)
    assert claims / 1000 <= 0.06


def test_a_collapsed_run_is_in_no_mean_and_is_told_apart(tmp_path: Path) -> None:
    whole, less = analysed(tmp_path / "a"), analysed(tmp_path / "b", ("sv", "anli", 1))
    rows = {(r.system.source, r.system.task): r for r in less.rows}
    row = rows["sv", "anli"]
    assert row.summary is not None and (row.summary.n, row.lost) == (2, 1) and row.summary.mean > 0.6
    assert [(x.system.name, x.seed, x.status, x.score) for x in less.lost] == [
        ("sv/anli (pfeiffer)", 1, "collapsed", 0.01)
    ]
    assert whole.lost == ()
    assert any("1 collapsed" in s for s in say(less)) and not any("collapsed" in s for s in say(whole))
    # without holes the grid keeps both sources and tasks and gives up the seed; the mixed model uses every score
    shapes = [[v.moments and v.moments.shape for v in a.variances] for a in (whole, less)]
    assert shapes == [[(2, 2, 3)], [(2, 2, 2)]]
    assert less.variances[0].levels == {"source": 2, "task": 2, "seed": 3}


def test_a_grid_with_too_many_holes_is_no_grid_and_a_single_task_is_enough() -> None:
    columns = ["source", "task", "seed", "score"]
    holes = [("en", "a", 0, 0.1), ("en", "a", 1, 0.2), ("sv", "b", 0, 0.3), ("et", "b", 1, 0.4)]
    assert grid(pd.DataFrame(holes[:1], columns=columns)) is None
    assert grid(pd.DataFrame(holes[2:], columns=columns)) is None
    one_task = [(source, "a", seed, 0.1) for source in ("en", "sv") for seed in (0, 1)]
    found = grid(pd.DataFrame(one_task, columns=columns))
    assert found is not None and found.shape == (2, 1, 2)


def test_choices_and_regret_follow_the_planted_order(analysis: Analysis) -> None:
    (choice,) = analysis.choices
    assert choice.score == pytest.approx(choice.best), "here English dev scores are the target scores"
    assert (choice.systems, choice.seeds, choice.agreed) == (5, 3, 3), "no intermediate task can be chosen too"
    regrets = {r.ordering: r.at for r in analysis.regrets}
    means = {(r.system.source, r.system.task): r.summary.mean for r in analysis.rows if r.summary}
    lost = [max(0.0, means["en", t] - means["sv", t]) for t in ("anli", "qqp")]
    assert regrets["by hand"][1] == pytest.approx(np.mean(lost))
    # a random first source is either of two: half of the difference, whichever way it lies
    apart = [abs(means["en", t] - means["sv", t]) / 2 for t in ("anli", "qqp")]
    assert regrets[RANDOM][1] == pytest.approx(np.mean(apart))
    assert regrets["by hand"][2] == regrets[RANDOM][2] == pytest.approx(0.0)


def test_the_sentences_claim_only_what_was_found(analysis: Analysis) -> None:
    found, bounds = " ".join(shows(analysis)), " ".join(limits(analysis))
    assert "1 score above English" in found and "sv/anli" in found
    assert "is not shown to be absent" in bounds and "da/qqp" in bounds and "3 seeds" in bounds
    assert "translated <by> machine" in bounds
    assert "bound, not a result" in " ".join(say(analysis)) and "an indication, not a measurement" in " ".join(
        say(analysis)
    )


def test_typology_puts_relatives_near(tmp_path: Path) -> None:
    known = Registry().typology()
    assert set(Registry().languages()) == set(known)
    assert all(kinship.typological_distance(x, x) == 0.0 for x in known.values())
    for a, b in (("fi", "et"), ("sv", "zh"), ("hu", "fi")):
        there, back = (kinship.typological_distance(known[x], known[y]) for x, y in ((a, b), (b, a)))
        assert there == back and 0 < there <= 1
    assert kinship.by_typology(Registry(), "fi", ["fr", "sv", "et", "hu"])[:2] == ("et", "hu")
    assert set(kinship.by_typology(Registry(), "da", ["fr", "sv", "et", "de", "nb"])[:2]) == {"nb", "sv"}
    toy.put(tmp_path / "languages.yaml", "qaa: Toyish\n")
    assert kinship.by_typology(Registry(tmp_path), "qaa", ["en"]) == (), "nothing is said of the target"
    family = "{family: [Germanic], order: VO, gender: 0, cases: none, definite: word, adpositions: pre}"
    toy.put(tmp_path / "typology.yaml", f"qaa: {family}\n")
    assert kinship.by_typology(Registry(tmp_path), "qaa", ["zh", "en"]) == ("en", "zh")


def test_a_study_keeps_the_order_of_its_sources_by_embedding_and_judges_it(settings: Settings) -> None:
    plan = planned(settings)
    in_process(plan, settings)
    folder = plan.folder(settings.store)
    # qaa is the target itself: at no distance; English is at its offset
    assert kinship.read(folder) == {kinship.EMBEDDING: ("qaa", "en")}
    offsets = list(settings.store.glob("vectors/*/qaa/*.json"))
    assert len(offsets) == 1 and len(json.loads(offsets[0].read_text())["offset"]) == 64
    before = offsets[0].stat().st_mtime_ns
    assert kinship.by_embedding(settings, "qaa", ["en", "qaa"]) == ("qaa", "en")
    assert offsets[0].stat().st_mtime_ns == before, "computed once"
    assert kinship.by_embedding(settings, "sv", ["en"]) == (), "no parallel text for the target here"
    from adaptx.study import results

    table = results.read(plan, settings.store)
    found = analyses.analyse(plan.id, plan.study, plan.gaps, table, settings.store)
    if len({r.system.source for r in found.rows if r.summary}) > 2:
        assert {r.ordering for r in found.regrets} == {kinship.EMBEDDING, RANDOM}
