"""The shipped tasks: each file is right, local sources have the rows they promise, others can be read as written.

Nothing here asks the network; what the Hub's sources promise is checked for form only.
"""

import os
import re
from pathlib import Path

import pytest

from adaptx.check import check_file
from adaptx.config import Settings, resolve
from adaptx.data import sources
from adaptx.data.examples import (
    ChoiceExample,
    DocumentExample,
    Example,
    ParallelExample,
    SpanExample,
    TextExample,
    WordsExample,
)
from adaptx.data.readers.tables import from_records
from adaptx.data.sample import KINDS, LANGUAGES
from adaptx.metrics import METRICS
from adaptx.registry import Registry, Source, configs_folder, read_yaml
from adaptx.table import target_tasks

ROOT = Path(os.environ.get("ADAPTX_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
real = [pytest.mark.real, pytest.mark.skipif(not (ROOT / "MANIFEST.tsv").is_file(), reason="no real data here")]
REGISTRY = Registry()
TASKS = {t.id: t for t in REGISTRY.tasks()}
NINE = ("anli", "mnli", "qqp", "squad_v1", "squad_v2", "hellaswag", "ccg", "cosmosqa", "commonsenseqa")
FINNISH = {"udpos": 4422, "panx": None, "tydiqa": 782, "tatoeba": 1000}  # panx: a stand-in on disk, 10,000 on the Hub
KIND: dict[str, type] = {
    "classification": TextExample,
    "tagging": WordsExample,
    "span_qa": SpanExample,
    "multiple_choice": ChoiceExample,
    "retrieval": ParallelExample,
    "mlm": DocumentExample,
}
HUB = [(t.id, i) for t in TASKS.values() for i, s in enumerate(t.sources) if s.kind == "hub"]
SAMPLE = {s.id: t.id for t in TASKS.values() for s in t.sources if s.kind == "sample"}  # a task for each kind of sample
LOCAL = [(t.id, lang) for t in TASKS.values() for lang in t.languages(("local",))]


def settings(cache: Path, profile: str = "local", data_root: Path | None = None) -> Settings:
    return resolve(profile=profile, cache=cache, data_root=data_root)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_file_is_valid_and_opens_with_the_command_that_runs_it(name: str) -> None:
    file = configs_folder() / "tasks" / f"{name}.yaml"
    check_file(file)
    first = file.read_text("utf-8").splitlines()[0]
    command = re.fullmatch(
        r"# adaptx (--profile paper )?(train-adapter --lang ([a-z]+) --task|eval ([a-z]+) --tasks) (\w+)", first
    )
    assert command and command[5] == name
    kinds = ("hub",) if command[1] else ("local", "sample")
    split = "train" if command[3] else "test"
    lang = command[3] or command[4]
    assert any(lang in s.languages and split in s.splits for s in TASKS[name].sources if s.kind in kinds)


def test_no_field_is_said_twice() -> None:
    for name in TASKS:
        text = (configs_folder() / "tasks" / f"{name}.yaml").read_text("utf-8")
        top = re.findall(r"^(\w+):", text, re.MULTILINE)
        assert len(top) == len(set(top)) == len(read_yaml(configs_folder() / "tasks" / f"{name}.yaml"))


def test_the_nine_intermediate_tasks_and_the_xtreme_r_targets_are_there() -> None:
    assert set(NINE) | {"snli", "pawsx"} <= {t.id for t in TASKS.values() if t.roles[0] == "intermediate"}
    targets = {t.id for t in TASKS.values() if t.roles[0] == "target"}
    assert targets == {*FINNISH, "xnli", "xcopa", "xquad", "mlqa"}
    assert [t.id for t in TASKS.values() if t.roles[0] == "language"] == ["mlm"]


@pytest.mark.parametrize("name", TASKS)
def test_labels_and_metrics_fit_the_kind(name: str) -> None:
    task = TASKS[name]
    assert all(m in METRICS for m in task.metrics)
    assert (task.labels is not None) is (task.kind in ("classification", "tagging") and name != "ccg")
    assert ("unanswerable" in task.options) is (name == "squad_v2")


@pytest.mark.parametrize("name", [t.id for t in TASKS.values() if t.roles[0] == "target" and t.kind != "retrieval"])
def test_a_target_has_english_training_data_wherever_it_has_a_test_set(name: str) -> None:
    for kind in ("local", "hub", "sample"):
        of_kind = [s for s in TASKS[name].sources if s.kind == kind]
        if any("test" in s.splits for s in of_kind):
            assert any("en" in s.languages and "train" in s.splits for s in of_kind)


@pytest.mark.parametrize("profile", ["local", "paper"])
def test_finnish_is_scored_on_exactly_the_four_finnish_tasks(profile: str, tmp_path: Path) -> None:
    assert {t.id for t in target_tasks(settings(tmp_path, profile), "fi", None)} == set(FINNISH)


def test_other_languages_are_scored_on_what_xtreme_r_has_for_them(tmp_path: Path) -> None:
    def offered(lang: str) -> set[str]:
        return {t.id for t in target_tasks(settings(tmp_path, "paper"), lang, None)}

    assert offered("de") == {"udpos", "panx", "tatoeba", "xnli", "xquad", "mlqa"}
    assert offered("et") == {"udpos", "panx", "tatoeba", "xcopa"}
    assert offered("sw") == {"panx", "tatoeba", "tydiqa", "xnli", "xcopa"}


def at_hub(name: str, index: int) -> list[Source]:
    source = TASKS[name].sources[index]
    return [source.at(lang) for lang in source.languages]


@pytest.mark.parametrize(("name", "index"), HUB)
def test_a_hub_source_can_be_read_as_written(name: str, index: int) -> None:
    task, kinds = TASKS[name], {"text": TextExample, "words": WordsExample, "span": SpanExample}
    kinds |= {"choice": ChoiceExample, "parallel": ParallelExample, "document": DocumentExample}
    for source in at_hub(name, index):
        assert re.fullmatch(r"[\w-]+/[\w.-]+", source.id or "")
        assert (
            source.revision is None
            or source.revision.startswith("refs/")
            or re.fullmatch("[0-9a-f]{40}", source.revision)
        )
        # a branch of converted files has no configurations, only folders
        assert (source.revision is None) or (source.config or "").endswith("/")
        for part in (p for parts in source.splits.values() for p in parts):
            options = {**source.options, **part.options}
            assert part.split and not part.files
            assert from_records([], "here", options) == []
            assert kinds[options.get("example", "text")] is KIND[task.kind]
            for label in options.get("labels", {}).values():
                assert task.labels is None or label in task.labels


@pytest.mark.parametrize(("name", "index"), HUB)
def test_a_hub_source_names_every_language_it_lists_and_no_placeholder_stays(name: str, index: int) -> None:
    source = TASKS[name].sources[index]
    assert not source.names or set(source.names) == set(source.languages)
    assert ("{name}" in source.model_dump_json()) is bool(source.names)
    filled = at_hub(name, index)
    assert not any(re.search(r"\{\w+\}", s.model_dump_json()) for s in filled)
    assert not source.verified or source.revision


def test_names_stand_for_languages_where_codes_do_not() -> None:
    task = TASKS["udpos"]
    found = {lang: s.at(lang).config for s in task.sources if s.kind == "hub" for lang in s.languages}
    assert (found["fi"], found["sv" if "sv" in found else "de"], found["en"]) == (
        "udpos.Finnish",
        "udpos.German",
        "udpos.English",
    )
    assert {s.at("sw").config for s in TASKS["tatoeba"].sources if s.kind == "hub" and "sw" in s.languages} == {
        "tatoeba.swh"
    }


def test_non_commercial_data_says_so() -> None:
    by_id = {s.id: s.licence for t in TASKS.values() for s in t.sources if s.kind == "hub"}
    for name in ("facebook/anli", "facebook/xnli", "manu/fquad2_test", "alexandrainst/m_hellaswag"):
        assert "-NC" in by_id[name]
    assert all("NC" in s.licence for s in TASKS["qqp"].sources if s.kind == "hub")
    assert "NC" not in by_id["rajpurkar/squad"]


@pytest.mark.parametrize("name", SAMPLE.values())
def test_the_sample_corpus_gives_every_task_examples_of_its_kind(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    (source,) = [s for s in task.sources if s.kind == "sample"]
    examples = sources.load(settings(tmp_path), task, source.languages[-1], "test").examples
    assert all(isinstance(e, KIND[task.kind]) for e in examples)
    assert labels_of(examples) <= set(task.labels or labels_of(examples))
    if task.kind == "span_qa":
        some = any(isinstance(e, SpanExample) and not e.answers for e in examples)
        assert some is ("unanswerable" in task.options)


@pytest.mark.parametrize("name", [t.id for t in TASKS.values() if t.languages(("sample",))])
def test_a_sample_source_is_one_that_the_corpus_has(name: str) -> None:
    (source,) = [s for s in TASKS[name].sources if s.kind == "sample"]
    assert source.id in KINDS and "built-in sample corpus" in source.note
    assert set(source.languages) <= {*LANGUAGES} - ({"en"} if TASKS[name].kind == "retrieval" else set())
    assert "train" in source.splits or TASKS[name].kind == "retrieval"


def labels_of(examples: tuple[Example, ...]) -> set[str]:
    found: set[str] = set()
    for e in examples:
        if isinstance(e, TextExample) and e.label is not None:
            found.add(e.label)
        elif isinstance(e, WordsExample):
            found |= set(e.tags or ())
    return found


@pytest.mark.parametrize(("name", "lang"), [pytest.param(*pair, marks=real) for pair in LOCAL])
def test_a_local_source_has_the_rows_it_promises_and_no_row_in_two_splits(
    name: str, lang: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here, task = settings(tmp_path_factory.getbasetemp() / "cache", data_root=ROOT), TASKS[name]
    source = sources.pick(here, task, lang)
    assert source.kind == "local" and source.splits
    seen: dict[str, set[str]] = {}
    for split in source.splits:
        data = sources.load(here, task, lang, split)  # raises where a count is not as promised
        assert all(isinstance(e, KIND[task.kind]) for e in data.examples)
        assert labels_of(data.examples) <= set(task.labels or labels_of(data.examples))
        assert sum(t.rows for t in data.tables) >= len(data.examples)
        seen[split] = {t.id + e.id for t in data.tables[:1] for e in data.examples}
    if (name, lang) != ("tydiqa", "en"):  # English TyDiQA has two sets only; its note says so
        assert sum(map(len, seen.values())) == len(set().union(*seen.values()))


@pytest.mark.parametrize("name", [pytest.param(n, marks=real) for n in NINE])
def test_every_intermediate_task_trains_on_english_files(name: str, tmp_path: Path) -> None:
    source = sources.pick(settings(tmp_path, data_root=ROOT), TASKS[name], "en")
    assert source.kind == "local" and {"train", "dev"} <= set(source.splits)


@pytest.mark.parametrize("name", [pytest.param(n, marks=real) for n in FINNISH])
def test_finnish_test_sets_have_xtreme_rs_sizes_or_say_that_they_are_not_its(name: str, tmp_path: Path) -> None:
    here = settings(tmp_path, data_root=ROOT)
    assert {t.id for t in target_tasks(here, "fi", None)} == set(FINNISH)
    data = sources.load(here, TASKS[name], "fi", "test")
    size = FINNISH[name]
    assert len(data.examples) == size if size else "NOT PAN-X" in data.note


@pytest.mark.real
@pytest.mark.skipif(not (ROOT / "MANIFEST.tsv").is_file(), reason="no real data here")
@pytest.mark.parametrize(
    ("name", "lang"), [("squad_v1", "en"), ("squad_v2", "en"), ("squad_v2", "sv"), ("squad_v1", "et")]
)
def test_no_passage_is_read_in_two_splits(name: str, lang: str, tmp_path: Path) -> None:
    here, task = settings(tmp_path, data_root=ROOT), TASKS[name]
    contexts = [
        {e.context for e in sources.load(here, task, lang, split).examples if isinstance(e, SpanExample)}
        for split in ("train", "dev", "test")
    ]
    assert sum(map(len, contexts)) == len(set().union(*contexts))
