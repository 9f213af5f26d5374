"""What there is to choose from: the shipped files, the faults of a user's own, and overlays that need no code."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import toy
from adaptx import store
from adaptx.check import check_file
from adaptx.config import RunOptions, Settings, resolve
from adaptx.data import readers, sources
from adaptx.data.examples import TextExample
from adaptx.errors import AdaptxError
from adaptx.metrics import METRICS
from adaptx.refs import parse_ref
from adaptx.registry import Registry, Source, configs_folder
from adaptx.tasks import KINDS
from adaptx.training import prepare, run

SHIPPED = Registry()
FILES = sorted(configs_folder().rglob("*.yaml"))
LOCAL = [
    (task.id, i, lang)
    for task in SHIPPED.tasks()
    for i, source in enumerate(task.sources)
    if source.kind == "local"
    for lang in source.languages[:1]
]


def refused(action: Callable[[], object], code: str) -> AdaptxError:
    with pytest.raises(AdaptxError) as caught:
        action()
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.relative_to(configs_folder()).as_posix())
def test_a_shipped_file_has_no_fault_and_opens_with_the_command_that_runs_it(file: Path) -> None:
    if file.parent.name == "tasks" or file.parent == configs_folder():
        assert check_file(file)
    first = file.read_text("utf-8").splitlines()[0]
    assert first.startswith("# adaptx "), first


@pytest.mark.parametrize(("task", "number", "lang"), LOCAL, ids=[f"{t}-{i}" for t, i, _ in LOCAL])
def test_the_reader_of_a_local_source_knows_its_options(task: str, number: int, lang: str) -> None:
    source = SHIPPED.task(task).sources[number].at(lang)
    assert source.splits
    for parts in source.splits.values():
        for part in parts:
            assert part.files
            assert not [f for f in part.files if "{" in f or Path(f).is_absolute() or ".." in Path(f).parts]
            readers.check(part.format or source.format or "", {**source.options, **part.options})


def test_every_shipped_task_is_complete() -> None:
    assert SHIPPED.task_ids()
    for task in SHIPPED.tasks():
        assert task.kind in KINDS
        assert task.roles, task.id
        assert set(task.metrics) <= set(METRICS), task.id
        assert set(task.hyper) <= set(SHIPPED.methods()), task.id
        for source in task.sources:
            assert source.licence, task.id
            assert source.splits, task.id
            assert {*source.languages, *source.names} <= SHIPPED.languages().keys(), task.id
            assert len(set(source.languages)) == len(source.languages), task.id
            assert (source.id is None) is (source.kind == "local"), task.id
            if source.kind == "hub" and source.revision is not None:
                assert len(source.revision) == 40 or source.revision.startswith("refs/"), task.id


def test_profiles_name_registered_backbones() -> None:
    for profile in SHIPPED.profiles().values():
        assert profile.backbone in SHIPPED.backbones()
        assert profile.sources


@pytest.mark.parametrize(
    ("action", "code", "hint"),
    [
        (lambda: SHIPPED.task("anlo"), "AX002", "anli"),
        (lambda: SHIPPED.method("pfeifer"), "AX003", "pfeiffer"),
        (lambda: SHIPPED.check_language("swe"), "AX001", "sw"),
        (lambda: SHIPPED.check_language("swedish"), "AX001", "Did you mean sv?"),
        (lambda: SHIPPED.check_language("zzzzzz"), "AX001", "Known:"),
        (lambda: SHIPPED.task("completely-else"), "AX002", "Known:"),
        (lambda: resolve(profile="locale"), "AX010", "local"),
    ],
    ids=["task", "method", "language code", "language name", "language", "far-off task", "profile"],
)
def test_an_unknown_name_is_answered_with_what_was_meant(action: Callable[[], object], code: str, hint: str) -> None:
    assert hint in refused(action, code).why


def overlay(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        toy.put(folder / f"{name.replace('__', '/')}.yaml", text)
    return folder


BROKEN = """
kind: clasification
title: broken
roles: [intermediate]
metrics: [accuracy]
colour: blue
train: {epochs: many}
sources:
  - {kind: local, languages: [english], licence: none, color: red}
  - {kind: local, languages: [en], splits: {training: []}}
"""


def test_all_faults_of_a_file_are_listed_at_once(tmp_path: Path) -> None:
    registry = Registry(overlay(tmp_path, tasks__broken=BROKEN))
    error = refused(lambda: registry.task("broken"), "AX010")
    assert "tasks/broken.yaml" in error.given
    for fault in (
        "kind:",
        "colour:",
        "train.epochs:",
        "sources.0.languages.0:",
        "sources.0.color:",
        "sources.1.licence:",
        "sources.1.splits.training",
    ):
        assert fault in error.why, fault
    assert refused(lambda: check_file(tmp_path / "tasks" / "broken.yaml"), "AX010").why == error.why
    assert SHIPPED.task("anli"), "other registries are not touched"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("languages", "- qaa\n"),
        ("languages", "qaa: [Toyish\n"),
        ("languages", "{not a language code!}: Toyish\n"),
        ("methods", "mine: {family: lora, title: x, lr: fast}\n"),
        ("methods", "mine: {family: unknown, title: x, lr: 1}\n"),
        ("methods", "mine: 3\n"),
        ("backbones", "mine: {source: hub}\n"),
        ("backbones", "mine: {source: hub, id: a/b, trust_remote_code: true}\n"),
        ("profiles", "mine: {title: x, backbone: y, sources: [ftp]}\n"),
        ("tasks__mine", ""),
        ("tasks__mine", "kind: tagging\n"),
        ("tasks__Mine!", "kind: tagging\ntitle: x\nroles: [target]\nmetrics: []\nsources: []\n"),
    ],
)
def test_a_faulty_file_is_one_error_with_its_name(name: str, text: str, tmp_path: Path) -> None:
    overlay(tmp_path, **{name: text})
    file = tmp_path / f"{name.replace('__', '/')}.yaml"
    assert file.stem in refused(lambda: check_file(file), "AX010").given


def test_files_that_are_no_text_or_not_there_are_named(tmp_path: Path) -> None:
    refused(lambda: check_file(tmp_path / "none.yaml"), "AX011")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "odd.yaml").write_bytes(b"\xff\xfe\x00")
    refused(lambda: check_file(tmp_path / "tasks" / "odd.yaml"), "AX010")


def test_an_overlay_adds_names_merges_mappings_and_puts_its_sources_first(tmp_path: Path) -> None:
    source = "{kind: local, languages: [sv], licence: mine, format: tsv}"
    own = f"sources:\n  - {source}\ntrain: {{epochs: 9}}\ntitle: my own\n"
    registry = Registry(
        overlay(
            tmp_path,
            languages="qaa: Toyish\nsv: Swedish as I call it\n",
            methods="lora: {hyper: {r: 4}}\nmine: {family: lora, title: mine, lr: 1.0}\n",
            tasks__mnli=own,
        )
    )
    task, shipped = registry.task("mnli"), SHIPPED.task("mnli")
    assert task.sources[0].licence == "mine"
    assert task.sources[1:] == shipped.sources
    assert task.train.epochs == 9
    assert task.train.batch_tokens == shipped.train.batch_tokens
    assert (task.title, task.labels) == ("my own", shipped.labels)
    assert registry.languages() == {**SHIPPED.languages(), "qaa": "Toyish", "sv": "Swedish as I call it"}
    assert registry.method("lora").hyper == {**SHIPPED.method("lora").hyper, "r": 4}
    assert registry.method("mine").lr == 1.0
    assert set(registry.task_ids()) == set(SHIPPED.task_ids())
    refused(lambda: SHIPPED.method("mine"), "AX003")


def test_sources_are_filled_in_for_a_language() -> None:
    source = Source.model_validate(
        {
            "kind": "hub",
            "languages": ["sv", "no"],
            "names": {"no": "norwegian"},
            "licence": "x ({lang})",
            "id": "org/{name}",
            "config": "{LANG}.{lang}",
            "splits": {"train": [{"split": "{lang}[:9]"}], "test": [{"files": ["a/{name}/*.tsv"]}]},
        }
    )
    swedish, norwegian = source.at("sv"), source.at("no")
    assert (swedish.id, swedish.config, swedish.licence) == ("org/sv", "SV.sv", "x (sv)")
    assert swedish.splits["train"][0].split == "sv[:9]"
    assert (norwegian.id, norwegian.splits["test"][0].files) == ("org/norwegian", ("a/norwegian/*.tsv",))


MADE_UP = """
sources:
  - kind: local
    languages: [qbb]
    licence: my own
    format: tsv
    options:
      columns: {text: first, pair: second, label: answer}
      labels: {ja: entailment, na: neutral, ei: contradiction}
    splits:
      train: [{files: ["own/nli-{lang}.tsv"], rows: [0, 30]}]
      dev: [{files: ["own/nli-{lang}.tsv"], rows: [30, 40]}]
"""


@pytest.fixture
def made_up(world: toy.World, tmp_path: Path) -> Settings:
    """A language that nobody speaks, added to the shipped task mnli with one YAML file and one table."""
    import random

    rng, words = random.Random(0), {"entailment": "ja", "neutral": "na", "contradiction": "ei"}
    rows = ["\t".join((*(x := toy.inference(rng, "qaa"))[:2], words[x[2]])) for _ in range(40)]
    toy.put(tmp_path / "data" / "own" / "nli-qbb.tsv", "first\tsecond\tanswer\n" + "\n".join(rows) + "\n")
    folder = overlay(tmp_path / "registry", languages="qbb: Nobodish\n", tasks__mnli=MADE_UP)
    return toy.settings(world, tmp_path / "store", data_root=tmp_path / "data", registry=folder)


def test_a_made_up_language_trains_without_a_change_of_code(made_up: Settings) -> None:
    options = RunOptions(precision="fp32", epochs=1, batch_tokens=128)
    stored = run(prepare(made_up, "qbb", "mnli", options))
    assert stored.ref.startswith("qbb/mnli:pfeiffer@")
    assert [(d.split, d.rows, d.licence) for d in stored.recipe.data] == [
        ("train", 30, "my own"),
        ("dev", 10, "my own"),
    ]
    assert stored.manifest.labels["mnli"] == SHIPPED.task("mnli").labels
    assert set(stored.manifest.metrics) == {"dev"}
    assert store.find(made_up.store, parse_ref("qbb/mnli")) == stored
    assert "qbb" not in SHIPPED.languages()


def test_sources_that_the_settings_do_not_allow_are_passed_over(made_up: Settings) -> None:
    task = made_up.registry.task("mnli")
    assert sources.available(made_up, task, "qbb", "train")
    assert not sources.available(made_up, task, "qbb", "test")
    sample_only = replace(made_up, data_root=None)
    assert not sources.available(sample_only, task, "qbb", "train")
    assert sources.available(sample_only, task, "sv", "train")
    assert not sources.available(made_up, task, "sv", "train"), "its files are not below this data root"
    error = refused(lambda: prepare(sample_only, "qbb", "mnli", RunOptions()), "AX014")
    assert "local: " in error.why


def test_rows_limits_and_shares_choose_the_same_rows_every_time(world: toy.World, tmp_path: Path) -> None:
    def rows(part: str, limit: int | None = None) -> list[str]:
        text = toy.TOYNLI_YAML.replace('{files: ["toynli/{lang}/train.tsv"]}', part)
        registry = overlay(tmp_path / str(abs(hash(part))), languages="qaa: Toyish\n", tasks__toynli=text)
        settings = toy.settings(world, tmp_path / "store", registry=registry)
        return [e.id for e in sources.load(settings, settings.registry.task("toynli"), "en", "train", limit).examples]

    files = 'files: ["toynli/{lang}/train.tsv"]'
    every = rows(f"{{{files}}}")
    assert len(set(every)) == len(every) == 40
    assert rows(f"{{{files}, rows: [5, 9]}}") == every[5:9]
    assert rows(f"{{{files}, rows: [35, null]}}") == every[35:]
    assert rows(f"{{{files}, every: [4, 1]}}") == every[1::4]
    assert rows(f"{{{files}, expect: 40}}") == every
    refused(lambda: rows(f"{{{files}, expect: 41}}"), "AX015")
    refused(lambda: rows(f"{{{files}, rows: [90, 99]}}"), "AX016")
    refused(lambda: rows('{files: ["toynli/{lang}/none.tsv"]}'), "AX011")
    few = rows(f"{{{files}}}", 7)
    assert few == rows(f"{{{files}}}", 7)
    assert few == [x for x in every if x in few], "in their order"
    assert len(few) == 7
    assert rows(f"{{{files}}}", 400) == every


def test_a_limit_keeps_parallel_rows_parallel(settings: Settings) -> None:
    task = settings.registry.task("toynli")

    def numbers(lang: str) -> list[str]:
        examples = sources.load(settings, task, lang, "train", 9).examples
        assert all(isinstance(e, TextExample) for e in examples)
        return [e.id.rpartition(":")[2] for e in examples]

    assert numbers("en") == numbers("qaa")


def test_settings_come_from_arguments_then_from_the_environment_then_from_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve().profile.id == "local"
    assert resolve().store == Path("store")
    monkeypatch.setenv("ADAPTX_STORE", str(tmp_path / "env"))
    monkeypatch.setenv("ADAPTX_PROFILE", "paper")
    monkeypatch.setenv("ADAPTX_BACKBONE", "xlm-roberta-base")
    found = resolve()
    assert (found.store, found.profile.id, found.backbone) == (tmp_path / "env", "paper", "xlm-roberta-base")
    given = resolve(store=tmp_path / "given", profile="local", backbone="mine")
    assert (given.store, given.profile.id, given.backbone) == (tmp_path / "given", "local", "mine")
    monkeypatch.setenv("ADAPTX_DATA", str(tmp_path / "nowhere"))
    refused(resolve, "AX013")
    refused(lambda: resolve(data_root=tmp_path, registry=tmp_path / "nowhere"), "AX011")


def test_with_a_data_root_local_files_take_the_place_of_the_sample_corpus(tmp_path: Path) -> None:
    assert resolve(profile="local").sources == ("sample",)
    assert resolve(profile="local", data_root=tmp_path).sources == ("local",)
    assert resolve(profile="paper").sources == ("hub",)
    assert resolve(profile="paper", data_root=tmp_path).sources == ("local", "hub")
    for profile in ("local", "paper"):
        line = resolve(profile=profile).describe()
        assert profile in line
        assert resolve(profile=profile).backbone in line


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 0},
        {"max_steps": 0},
        {"batch_tokens": 1},
        {"epochs": 0.0},
        {"epochs": float("nan")},
        {"lr": -1.0},
        {"lr": float("inf")},
        {"precision": "fp16"},
        {"temperature": -1.0},
    ],
    ids=lambda c: f"{next(iter(c))}={next(iter(c.values()))}",
)
def test_an_option_out_of_range_is_refused(change: dict[str, Any]) -> None:
    error = refused(lambda: RunOptions(**change), "AX070")
    assert next(iter(change)) in error.given


def test_the_schema_of_the_registry_is_strict_yaml_without_objects(tmp_path: Path) -> None:
    text = f"mine: !!python/object/apply:os.mkdir [{json.dumps(str(tmp_path / 'made'))}]\n"
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)
    refused(lambda: Registry(overlay(tmp_path, methods=text)).methods(), "AX010")
    assert not os.path.exists(tmp_path / "made")
