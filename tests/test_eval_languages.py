"""Languages other than Finnish: every XTREME-R task that exists there is offered, and what is not here is named."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

import toy
from adaptx import store, table
from adaptx.config import RunOptions, Settings, resolve
from adaptx.errors import AdaptxError
from adaptx.refs import Ref
from adaptx.table import Table
from shop import call, surroundings

OPTIONS = RunOptions(precision="fp32", max_steps=1)
# Which of XTREME-R's tasks (Ruder et al. 2021) that are built here have a test set in the language.
XTREME_R = {
    "de": {"mlqa", "panx", "tatoeba", "udpos", "xnli", "xquad"},
    "et": {"panx", "tatoeba", "udpos", "xcopa"},
    "sw": {"panx", "tatoeba", "tydiqa", "xcopa", "xnli"},
    "fi": {"panx", "tatoeba", "tydiqa", "udpos"},
    "zh": {"mlqa", "panx", "tatoeba", "udpos", "xcopa", "xnli", "xquad"},
}
LOCAL = {
    "xnli": """
sources:
  - kind: local
    languages: [en, de, sw]
    licence: CC0-1.0
    format: tsv
    options: {columns: {text: premise, pair: hypothesis, label: label}}
    splits: {train: [{files: ["xnli/{lang}.tsv"]}], test: [{files: ["xnli/{lang}.tsv"]}]}
""",
    "xcopa": """
sources:
  - kind: local
    languages: [en, et, sw]
    licence: CC0-1.0
    format: jsonl
    options: {example: choice, columns: {context: premise, choices: [choice1, choice2], label: label}}
    splits: {train: [{files: ["xcopa/{lang}.jsonl"]}], test: [{files: ["xcopa/{lang}.jsonl"]}]}
""",
    "xquad": """
sources:
  - kind: local
    languages: [en, de]
    licence: CC0-1.0
    format: squad
    splits: {train: [{files: ["squad/{lang}.json"]}], test: [{files: ["squad/{lang}.json"]}]}
""",
}
LOCAL["mlqa"] = LOCAL["xquad"]
METRICS = {"xnli": {"accuracy"}, "xcopa": {"accuracy"}, "xquad": {"f1", "exact_match"}, "mlqa": {"f1", "exact_match"}}
SIZE = 12


def write(data: Path, lang: str) -> None:
    """Toy rows of every kind under real names, in one of the made-up languages."""
    rng = random.Random(lang)
    pairs = ["\t".join(toy.inference(rng, "qaa")) for _ in range(SIZE)]
    toy.put(data / "xnli" / f"{lang}.tsv", "premise\thypothesis\tlabel\n" + "\n".join(pairs) + "\n")
    texts = [" ".join(toy.sentence(rng, "qaa")[0]) for _ in range(SIZE)]
    rows = [{"premise": t, "choice1": t, "choice2": "falu .", "label": i % 2} for i, t in enumerate(texts)]
    toy.put(data / "xcopa" / f"{lang}.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    answers = [[{"text": t.split()[0], "answer_start": 0}] for t in texts]
    qas = [{"id": f"{lang}{i}", "question": "falu ?", "answers": a} for i, a in enumerate(answers)]
    paragraphs = [{"context": t, "qas": [q]} for t, q in zip(texts, qas, strict=True)]
    toy.put(data / "squad" / f"{lang}.json", json.dumps({"data": [{"title": "", "paragraphs": paragraphs}]}))


@pytest.fixture
def place(world: toy.World, tmp_path: Path) -> Settings:
    """The shipped registry with toy files for the four tasks, English target adapters of each in the store."""
    for name, text in LOCAL.items():
        toy.put(tmp_path / "registry" / "tasks" / f"{name}.yaml", text)
    for lang in ("en", "de", "et", "sw"):
        write(tmp_path / "data", lang)
    settings = toy.settings(world, tmp_path / "store", registry=tmp_path / "registry", data_root=tmp_path / "data")
    for name in LOCAL:
        toy.made(settings, "pfeiffer", name=name)
    return settings


def evaluated(settings: Settings, lang: str) -> Table:
    planned = table.plan(settings, lang, OPTIONS, may_train=False)
    return table.run(settings, lang, OPTIONS, planned)


def refused(code: str, settings: Settings, lang: str, *tasks: str) -> str:
    with pytest.raises(AdaptxError) as caught:
        table.plan(settings, lang, OPTIONS, tasks=tasks or None, may_train=False)
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize("lang", XTREME_R)
def test_the_profile_of_the_paper_offers_every_task_that_xtreme_r_has_there(lang: str) -> None:
    settings = resolve(profile="paper")
    assert {t.id for t in table.target_tasks(settings, lang, None)} == XTREME_R[lang]
    assert table.elsewhere(settings, lang) == []


@pytest.mark.parametrize(
    ("lang", "here"), [("de", {"mlqa", "xnli", "xquad"}), ("et", {"xcopa"}), ("sw", {"xcopa", "xnli"})]
)
def test_a_language_is_scored_on_the_tasks_that_are_here_and_the_others_are_named(
    lang: str, here: set[str], place: Settings
) -> None:
    result = evaluated(place, lang)
    (system,) = result.systems
    assert system.tasks.keys() == here
    for task, entry in system.tasks.items():
        assert entry.cell.n == SIZE
        assert entry.cell.metrics.keys() == METRICS[task]
        assert entry.target == store.find(place.store, Ref("en", task)).ref, "trained on English"
    named = {task for line in result.missing for task in line.partition(":")[0].split(", ")}
    assert named == XTREME_R[lang] - here
    assert all(f"no {lang} test set here" in line for line in result.missing)


def test_where_a_missing_test_set_is_depends_on_where_it_could_be(place: Settings) -> None:
    hub = "the Hub has one (--profile paper)"
    files = "its files are not below a data root"
    assert table.elsewhere(place, "sw") == [f"panx, tatoeba, tydiqa: no sw test set here; {hub}"]
    assert table.elsewhere(place, "de") == [f"panx, tatoeba, udpos: no de test set here; {files}"]
    assert place.data_root is not None
    (place.data_root / "xnli" / "de.tsv").unlink()
    assert table.elsewhere(place, "de") == [f"panx, tatoeba, udpos, xnli: no de test set here; {files}"]
    assert "xnli" not in {t.id for t in table.target_tasks(place, "de", None)}


def test_a_target_adapter_that_is_not_in_the_store_is_named_too(place: Settings, tmp_path: Path) -> None:
    empty = replace(place, store=tmp_path / "other")
    toy.made(empty, "pfeiffer", name="xcopa")
    result = evaluated(empty, "sw")
    assert result.systems[0].tasks.keys() == {"xcopa"}
    assert "none:pfeiffer on xnli: no target adapter in the store" in result.missing


def test_names_that_are_nothing_and_tasks_without_the_language_are_refused_by_name(place: Settings) -> None:
    assert "Did you mean xnli" in refused("AX002", place, "de", "xnly")
    assert "et/xnli" in refused("AX014", place, "et", "xnli")
    assert refused("AX001", place, "german")
    nowhere = refused("AX014", place, "hu")
    assert "panx" in nowhere, "what the Hub has is named"
    assert "tatoeba" in nowhere


def test_the_command_says_what_is_missing_in_both_forms(place: Settings) -> None:
    assert place.registry.overlay is not None
    places = {"STORE": place.store, "CACHE": place.cache, "DATA": place.data_root}
    places |= {"REGISTRY": place.registry.overlay, "BACKBONE": Path(place.backbone)}
    with surroundings({f"ADAPTX_{k}": str(v) for k, v in places.items()} | {"ADAPTX_DEVICE": "cpu"}):
        done, shown = call("eval", "et", "--no-train", "--json"), call("eval", "et", "--no-train")
        named = call("eval", "et", "--no-train", "--tasks", "xcopa", "--json")
    assert done.json["systems"][0]["tasks"].keys() == {"xcopa"}
    assert any("panx" in line for line in done.json["missing"])
    assert all(f"- {line}" in shown.out for line in done.json["missing"])
    assert named.json["missing"] == [], "who names tasks is not told of others"
