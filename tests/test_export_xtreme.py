"""The export for XTREME: files that its definition scores, read here by nothing of ours, give our numbers exactly."""

import json
import random
import re
import shutil
import string
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from seqeval.metrics import f1_score

import toy
from adaptx import export_xtreme, table
from adaptx.config import RunOptions, Settings
from adaptx.errors import AdaptxError
from adaptx.table import Table
from shop import call, surroundings

OPTIONS = RunOptions(precision="fp32", max_steps=1)
TOYQA = """
kind: span_qa
title: toy questions
roles: [target]
metrics: [squad_f1, squad_em]
train: {epochs: 1, batch_tokens: 128, max_tokens: 48}
sources:
  - kind: local
    languages: [en, qaa]
    licence: CC0-1.0
    format: squad
    splits:
      train: [{files: ["toyqa/{lang}.json"]}]
      test: [{files: ["toyqa/{lang}.json"]}]
"""


def questions(lang: str) -> str:
    """SQuAD 1.1: contexts with two questions each, several gold answers that differ in case, articles and points."""
    rng, paragraphs = random.Random(lang), []
    for c in range(10):
        words = [w for _ in range(3) for w in toy.sentence(rng, lang)[0]]
        context, qas = " ".join(["The", *words]), []
        for q in range(2):
            spans = [" ".join(words[i : i + rng.randint(1, 4)]) for i in rng.sample(range(len(words)), 3)]
            spans[0] = context[: len("The ") + len(words[0])] if q else spans[0]
            answers = [{"text": s, "answer_start": context.index(s)} for s in spans]
            qas.append({"id": f"{lang}-{c}-{q}", "question": " ".join(words[:3]) + "?", "answers": answers})
        paragraphs.append({"context": context, "qas": qas})
    return json.dumps({"version": "x", "data": [{"title": "t", "paragraphs": paragraphs}]})


@pytest.fixture
def place(world: toy.World, tmp_path: Path) -> Settings:
    """Settings over a registry with questions, which a test may change."""
    registry = Path(shutil.copytree(world.registry, tmp_path / "registry"))
    data = Path(shutil.copytree(world.data, tmp_path / "data"))
    toy.put(registry / "tasks" / "toyqa.yaml", TOYQA)
    for lang in toy.WORDS:
        toy.put(data / "toyqa" / f"{lang}.json", questions(lang))
    pairs = [data / "toypairs" / "qaa" / f"text.{lang}" for lang in ("en", "qaa")]
    english, foreign = (path.read_text().splitlines() for path in pairs)
    mixed = [(e, f)[i % 2] for i, (e, f) in enumerate(zip(english, foreign, strict=True))]  # half of them can be found
    toy.put(pairs[1], "\n".join(mixed) + "\n")
    return toy.settings(world, tmp_path / "store", registry=registry, data_root=data)


def lively(model: Any) -> None:
    toy.perturb(model, 0.5)


def evaluated(settings: Settings, lang: str = "qaa", tasks: list[str] | None = None) -> Table:
    with toy.instead_of_training(lively):
        return table.run(settings, lang, OPTIONS, table.plan(settings, lang, OPTIONS, tasks=tasks))


def sentences(path: Path) -> list[list[str]]:
    """What stands between blank lines."""
    return [block.split("\n") for block in path.read_text("utf-8").strip("\n").split("\n\n")]


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def bare(answer: str) -> list[str]:
    """The words of an answer as SQuAD 1.1 compares them (Rajpurkar et al. 2016, section 6)."""
    kept = "".join(c for c in answer.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def overlap(predicted: str, gold: str) -> float:
    """Harmonic mean of word precision and recall."""
    same = sum((Counter(bare(predicted)) & Counter(bare(gold))).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(bare(predicted)), same / len(bare(gold))
    return 2 * precision * recall / (precision + recall)


def squad(labels: Path, predictions: Path) -> dict[str, float]:
    """Exact match and F1 over every question of the nested file, the best of its gold answers each."""
    answers = json.loads(predictions.read_text("utf-8"))
    found = [
        (answers[question["id"]], [a["text"] for a in question["answers"]])
        for article in json.loads(labels.read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    assert len(found) == len(answers)
    exact = [max(bare(p) == bare(g) for g in golds) for p, golds in found]
    f1 = [max(overlap(p, g) for g in golds) for p, golds in found]
    return {"f1": sum(f1) / len(found), "exact_match": sum(exact) / len(found)}


def rescored(labels: Path, predictions: Path, kind: str) -> dict[str, float]:
    """XTREME's scores of one task and language, as fractions of one."""
    if kind == "span_qa":
        return squad(labels, predictions)
    if kind == "tagging":
        return {"f1": f1_score(sentences(labels), sentences(predictions))}
    right = [p == g for p, g in zip(lines(predictions), lines(labels), strict=True)]
    return {"accuracy": sum(right) / len(right)}


SUFFIX = {"toyqa": ("span_qa", "json"), "toypos": ("tagging", "tsv"), "toypairs": ("retrieval", "tsv"),
          "toynli": ("classification", "tsv")}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*seems not to be NE tag")
def test_the_exported_files_scored_by_xtremes_definition_give_our_numbers(place: Settings, tmp_path: Path) -> None:
    toy.made(place, "pfeiffer", edit=lively)
    result = evaluated(place)
    folders = export_xtreme.write(place, result, tmp_path / "out")
    assert [len(s.tasks) for s in result.systems] == [3, 4], "the intermediate task has no row without it"
    seen: dict[str, list[tuple[float, str]]] = {}
    for system, folder in zip(result.systems, folders, strict=True):
        assert folder == tmp_path / "out" / export_xtreme.folder_name(system) / "predictions"
        for task, entry in system.tasks.items():
            kind, suffix = SUFFIX[task]
            place_ = f"{task}/test-qaa.{suffix}"
            scores = rescored(tmp_path / "out" / "labels" / place_, folder / place_, kind)
            assert scores == pytest.approx({name: entry.cell.metrics[name] for name in scores}, rel=0, abs=1e-12), task
            seen.setdefault(task, []).append(
                (scores["f1" if "f1" in scores else "accuracy"], (folder / place_).read_text())
            )
    assert all(any(0 < score < 1 for score, _ in found) for found in seen.values()), "scores that show something"
    assert len({text for _, text in seen["toyqa"]}) == 2, "every row has its own predictions"


def test_one_row_is_written_without_a_folder_of_its_own_and_languages_add_up(place: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for lang in ("qaa", "en"):
        assert export_xtreme.write(place, evaluated(place, lang, ["toypos"]), out) == [out / "predictions"]
    written = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert written == [f"{w}/toypos/test-{x}.tsv" for w in ("labels", "predictions") for x in ("en", "qaa")]
    gold = sentences(out / "labels" / "toypos" / "test-qaa.tsv")
    assert len(gold) == 16
    assert {tag for tags in gold for tag in tags} <= set(toy.TAGS)
    before = (out / "predictions" / "toypos" / "test-qaa.tsv").read_text()
    export_xtreme.write(place, evaluated(place, "qaa", ["toypos"]), out)
    assert (out / "predictions" / "toypos" / "test-qaa.tsv").read_text() == before


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda kept: kept.pop(), "AX050"),
        (lambda kept: kept.reverse(), "AX050"),
        (lambda kept: kept.__setitem__(0, "x"), "AX020"),
    ],
    ids=["one too few", "in another order", "not pairs"],
)
def test_kept_predictions_that_are_not_about_this_test_set_are_refused(
    place: Settings, tmp_path: Path, damage: Any, code: str
) -> None:
    result = evaluated(place, tasks=["toypairs"])
    path = result.systems[0].tasks["toypairs"].cell.path
    score = json.loads(path.read_text())
    damage(score["predictions"])
    path.write_text(json.dumps(score))
    with pytest.raises(AdaptxError) as caught:
        export_xtreme.write(place, result, tmp_path / "out")
    assert caught.value.code == code
    assert not list((tmp_path / "out").rglob("*.tsv")), "nothing half done"


def test_the_flag_writes_the_folder_and_says_how_to_score_it(place: Settings, tmp_path: Path) -> None:
    out, file = tmp_path / "out", toy.put(tmp_path / "file", "")
    assert place.data_root is not None
    assert place.registry.overlay is not None
    twins = {"STORE": place.store, "CACHE": place.cache, "DATA": place.data_root, "REGISTRY": place.registry.overlay}
    twins |= {"BACKBONE": Path(place.backbone)}
    with surroundings({f"ADAPTX_{k}": str(v) for k, v in twins.items()} | {"ADAPTX_DEVICE": "cpu"}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("adaptx.table.plan", lambda *_, **__: pytest.fail("planned before the folder was looked at"))
            refused = call("eval", "qaa", "--tasks", "toypairs", "--export-xtreme", file)
        done = call("eval", "qaa", "--tasks", "toypairs", "--json", "--export-xtreme", out)
    assert (refused.code, refused.err.count("AX070")) == (1, 1)
    assert done.code == 0, done.err
    assert f"evaluate.py --prediction_folder {out / 'predictions'} --label_folder {out / 'labels'}" in done.err
    assert "evaluate_one_task" in done.err, "one language alone is not what the script takes"
    accuracy = done.json["systems"][0]["tasks"]["toypairs"]["accuracy"]
    assert rescored(*(out / w / "toypairs" / "test-qaa.tsv" for w in ("labels", "predictions")), "retrieval") == {
        "accuracy": accuracy
    }
