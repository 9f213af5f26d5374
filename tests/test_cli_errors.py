"""Bad input on the command line: one clear error with a code, a non-zero exit, no traceback, the store untouched."""

import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import pytest

import shop as shops
import toy
from adaptx.errors import CODES, AdaptxError
from shop import TRAIN, Shop, call, listing

HEADER = "premise\thypothesis\tlabel\n"


@pytest.fixture(scope="module")
def shop(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    built = shops.build(world, tmp_path_factory.mktemp("shop"))
    with shops.surroundings(built.twins):
        yield built


def truncated(shop: Shop, root: Path) -> None:
    for path in Path(shutil.copytree(shop.settings.store, root / "store")).rglob("adapter.safetensors"):
        os.truncate(path, 300)


def same_name(shop: Shop, root: Path) -> None:
    shutil.copytree(shop.other, root / "bert")


@dataclass(frozen=True)
class Refusal:
    """A command `line` in which {t} is a folder with `files` and what `prepare` adds; `words` of the message."""

    code: str
    words: str
    line: str
    files: dict[str, str | bytes] = field(default_factory=dict)
    prepare: Callable[[Shop, Path], None] = lambda shop, root: None


def data(shop: Shop, root: Path) -> None:
    """The data root {t}/data, with what the refusal's files put in its place."""
    shutil.copytree(shop.data, root / "data", dirs_exist_ok=True, ignore=lambda d, names: [
        n for n in names if (root / "data" / Path(d).relative_to(shop.data) / n).is_file()
    ])  # fmt: skip


def in_data(words: str, name: str, content: str | bytes, code: str = "AX012") -> Refusal:
    task = name.partition("/")[0]
    return Refusal(
        code, words, f"train-adapter --lang en --task {task} --data-root {{t}}/data", {f"data/{name}": content}, data
    )


def in_registry(words: str, name: str, content: str | bytes) -> Refusal:
    return Refusal("AX010", words, f"ls {Path(name).parts[0].split('.')[0]} --registry {{t}}/r", {f"r/{name}": content})


def option(name: str, value: str, code: str = "AX070") -> Refusal:
    return Refusal(code, value, f"train --{name} {value}")


# In a line, "train" stands for an otherwise right training command.
REFUSED = {
    "a language that is none": Refusal("AX001", "sw3dish", "train-adapter --lang sw3dish --task toynli"),
    "a language by its name": Refusal("AX001", "Did you mean sv?", "train-adapter --lang Swedish --task toynli"),
    "an unknown task": Refusal("AX002", "Did you mean anli", "train-adapter --lang en --task anlo"),
    "an unknown method": Refusal("AX003", "nosuch", "train --method nosuch"),
    "a missing backbone": Refusal("AX004", "none", "train --backbone {t}/none"),
    "a folder that is no backbone": Refusal("AX030", "config.json is missing", "train --backbone {t}"),
    "an unknown profile": Refusal("AX010", "profile nosuch", "train --profile nosuch"),
    "a missing data root": Refusal("AX013", "nowhere", "train --data-root {t}/nowhere"),
    "a data root without the file": Refusal("AX011", "toynli/en/train.tsv", "train --data-root {t}"),
    "a language to score on that is none": Refusal("AX001", "xx", "eval xx"),
    "a path for a reference": Refusal("AX005", "../../etc/passwd", "eval qaa --adapter ../../etc/passwd"),
    "a reference to nothing": Refusal("AX006", "qaa/nothing", "eval qaa --adapter qaa/nothing"),
    "a run that is not there": Refusal("AX006", "en/toynli:pfeiffer@", "show en/toynli@ffffff"),
    "a missing file to validate": Refusal("AX011", "none.yaml", "validate {t}/none.yaml"),
    "a malformed treebank": in_data(
        "en/train.conllu:2", "toypos/en/train.conllu", "1\tI\t_\tPRON\t_\t_\t0\troot\t_\t_\n2\tam broken\n"
    ),
    "a malformed table": in_data("en/train.tsv:3", "toynli/en/train.tsv", f"{HEADER}a\tb\tneutral\na b\n"),
    "an unknown label": in_data("maybe", "toynli/en/train.tsv", f"{HEADER}a\tb\tmaybe\n"),
    "a table in Latin-1": in_data("en/train.tsv:2", "toynli/en/train.tsv", HEADER.encode() + b"\xe4\tb\tneutral\n"),
    "an empty table": in_data("train.tsv", "toynli/en/train.tsv", HEADER, "AX016"),
    "a test set of another size": in_data("expected 16", "toynli/en/test.tsv", f"{HEADER}a\tb\tneutral\n", "AX015"),
    "a truncated adapter": Refusal("AX020", "300 bytes", "predict en/toypos tusa --store {t}/store", {}, truncated),
    "a truncated adapter to score": Refusal("AX020", "300 bytes", "eval qaa --store {t}/store", {}, truncated),
    "a backbone of another name": Refusal("AX006", "for other", "predict en/toypos tusa --backbone {other}"),
    "other weights of the same name": Refusal(
        "AX022", "it was trained on bert", "predict en/toypos tusa --backbone {t}/bert", {}, same_name
    ),
    "other weights to score on": Refusal(
        "AX022", "it was trained on bert", "eval qaa --adapter en/toypos --backbone {t}/bert", {}, same_name
    ),
    "a limit below one": option("limit", "-5"),
    "a learning rate of zero": option("lr", "0"),
    "a learning rate that is no number": option("lr", "nan"),
    "an infinite learning rate": option("lr", "inf"),
    "no epochs": option("epochs", "0"),
    "infinitely many epochs": option("epochs", "inf"),
    "no steps": option("max-steps", "0"),
    "too few tokens for a batch": option("batch-tokens", "1"),
    "a negative seed": option("seed", "-1"),
    "a negative temperature": option("temperature", "-1"),
    "a temperature that is no number": option("temperature", "nan"),
    "an unknown precision": option("precision", "fp8"),
    "an unknown device": option("device", "abacus", "AX071"),
    "a missing registry": Refusal("AX011", "not a folder", "train --registry {t}/none"),
    "a file for a registry": Refusal("AX011", "not a folder", "train --registry {t}/x", {"x": ""}),
    "a registry that is not YAML": in_registry("not YAML", "methods.yaml", "a: ["),
    "a registry of bytes": in_registry("not YAML", "methods.yaml", b"\xff\xfe\x00"),
    "a registry that is a list": in_registry("expected a mapping", "methods.yaml", "[1, 2]"),
    "a method that is a number": in_registry("mine", "methods.yaml", "mine: 3"),
    "sources that are a number": in_registry("sources", "tasks/mnli.yaml", "sources: 3"),
    "a file for a store": Refusal("AX070", "{t}/x", "train --seed 5 --store {t}/x", {"x": ""}),
    "a file for a cache": Refusal("AX070", "{t}/x", "train --seed 5 --cache {t}/x", {"x": ""}),
    "training on retrieval": Refusal("AX051", "retrieval", "train-adapter --lang qaa --task toypairs"),
    "a start from another method": Refusal("AX051", "lora", "train --method lora --init-from en/toypos"),
    "a stack of two libraries": Refusal("AX051", "stack", "train --method lora --stack en/toytext"),
    "no text": Refusal("AX070", "no text", "predict en/toypos"),
    "half a question": Refusal("AX070", "question ||| context", "predict en/toyspan tusa"),
    "a missing text file": Refusal("AX011", "none.txt", "predict en/toypos --file {t}/none.txt"),
    "a text file in Latin-1": Refusal("AX012", "UTF-8", "predict en/toypos --file {t}/x", {"x": b"\xe4"}),
    "predictions of running text": Refusal("AX051", "mlm", "predict en/toytext tusa"),
    "scores of another head": Refusal("AX051", "made for toynli", "eval qaa --stack en/toynli --tasks toypos"),
    "an unknown code": Refusal("AX070", "AX9999", "explain AX9999"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_one_clear_error_and_an_untouched_store_for(what: str, shop: Shop, tmp_path: Path) -> None:
    refusal = REFUSED[what]
    for name, content in refusal.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    refusal.prepare(shop, tmp_path)
    line = refusal.line.format(t=tmp_path, other=shop.other).split()
    before = listing(shop.settings.store)
    done = call(*([*TRAIN, *line[1:]] if line[0] == "train" else line))
    assert done.code == 1, done.out
    assert done.err.count(f"{refusal.code} {CODES[refusal.code].title}: ") == 1, done.err
    assert len(re.findall(r"^AX\d{3} ", done.err, re.MULTILINE)) == 1
    assert refusal.words.format(t=tmp_path) in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert listing(shop.settings.store) == before


USAGE = {
    "a missing option": "train-adapter --task toynli",
    "a missing argument": "eval",
    "an unknown option": "eval qaa --colour",
    "an unknown command": "trian-adapter",
    "a word for a number": "train-adapter --lang en --task toynli --limit many",
    "an unknown thing to list": "ls dogs",
}


@pytest.mark.parametrize("what", USAGE)
def test_wrong_usage_exits_with_two_for(what: str, shop: Shop) -> None:
    done = call(*shlex.split(USAGE[what]))
    assert (done.code, done.out) == (2, "")
    assert "Usage: " in done.err
    assert "Traceback" not in done.err


def test_right_input_passes_where_the_refused_one_fails(shop: Shop, tmp_path: Path) -> None:
    """The commands of `REFUSED` fail for the fault that is named, not for something that all of them share."""
    data(shop, tmp_path)
    assert call(*TRAIN, "--max-steps", "1", "--data-root", tmp_path / "data", "--store", tmp_path / "s").code == 0
    assert call("predict", "en/toypos", "tusa").code == 0
    assert call("predict", "en/toyspan", "tusa ||| tusa pame").code == 0
    assert call("eval", "qaa", "--adapter", "en/toypos").code == 0


def test_an_override_lets_an_adapter_run_on_other_weights(shop: Shop, tmp_path: Path) -> None:
    same_name(shop, tmp_path)
    line = ("predict", "en/toypos", "tusa", "--backbone", tmp_path / "bert")
    assert call(*line).code == 1
    assert call(*line, "--allow-backbone-mismatch").code == 0


def test_an_error_with_json_leaves_stdout_empty(shop: Shop) -> None:
    done = call("show", "en/toynli@ffff", "--json")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("AX006")


def test_debug_shows_the_traceback(shop: Shop) -> None:
    with pytest.raises(AdaptxError, match="AX006"):
        call("show", "en/toynli@ffff", "--debug")
    with patch("adaptx.store.find", side_effect=ValueError("a fault")):
        done = call("show", "en/toynli")
        assert done.code == 1
        assert done.err.startswith("AX099 internal error: ValueError: a fault")
        with pytest.raises(ValueError, match="a fault"):
            call("show", "en/toynli", "--debug")


REGISTRY_FAULTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "an unknown field": ("tasks/mine.yaml", "kind: tagging\ncolour: red\n", ("colour", "title", "sources")),
    "an unknown kind": ("tasks/mine.yaml", "kind: poetry\ntitle: t\nroles: []\nmetrics: []\nsources: []\n", ("kind",)),
    "an id in capitals": ("tasks/Mine.yaml", toy.TOYPOS_YAML, ("lower case",)),
    "unknown metrics": ("tasks/mine.yaml", toy.TOYPOS_YAML.replace("seqeval_f1", "charm"), ("charm",)),
    "an unknown format": ("tasks/mine.yaml", toy.TOYPOS_YAML.replace("conllu", "papyrus", 1), ("papyrus", "train")),
    "an unknown reader option": ("tasks/mine.yaml", toy.TOYNLI_YAML.replace("columns", "colums"), ("colums",)),
    "a language nobody named": ("tasks/mine.yaml", toy.TOYPOS_YAML.replace("qaa", "qab"), ("qab",)),
    "a method without family": ("methods.yaml", "mine: {title: t, lr: 1}\n", ("family",)),
    "a profile with an odd source": ("profiles.yaml", "mine: {title: t, backbone: b, sources: [web]}\n", ("sources",)),
    "a file that is not YAML": ("languages.yaml", "a: [", ("not YAML",)),
}


OVERLAY = """
sources:
  - kind: local
    languages: [qaa]
    licence: CC0-1.0
    format: tsv
    options: {columns: {text: premise, pair: hypo, label: label}}
    splits: {train: [{files: [own/train.tsv]}]}
"""


@pytest.mark.parametrize("what", REGISTRY_FAULTS)
def test_validation_names_every_fault_of(what: str, shop: Shop, tmp_path: Path) -> None:
    name, text, words = REGISTRY_FAULTS[what]
    folder = toy.write_registry(tmp_path / "registry")
    done = call("validate", toy.put(folder / name, text))
    assert done.code == 1
    assert done.err.startswith("AX010 ")
    assert {w: w in done.err for w in words} == dict.fromkeys(words, True)


def test_validation_looks_for_the_files_that_a_task_names(shop: Shop, tmp_path: Path) -> None:
    task = shop.registry / "tasks" / "toynli.yaml"
    assert call("validate", task, "--data-root", shop.data).code == 0
    (tmp_path / "data").mkdir()
    done = call("validate", task, "--data-root", tmp_path / "data")
    assert done.code == 1
    assert done.err.startswith("AX011 no such file: toynli/en/train.tsv")


def test_validation_of_a_file_over_a_shipped_task_looks_for_its_own_files_alone(shop: Shop, tmp_path: Path) -> None:
    task = toy.put(tmp_path / "registry" / "tasks" / "anli.yaml", OVERLAY)
    toy.put(tmp_path / "registry" / "languages.yaml", "qaa: Invented\n")
    done = call("validate", task, "--data-root", toy.put(tmp_path / "data" / "own" / "train.tsv", "x").parents[1])
    assert (done.code, done.err) == (0, "")
    (tmp_path / "data" / "own" / "train.tsv").unlink()
    done = call("validate", task, "--data-root", tmp_path / "data")
    assert done.err.startswith("AX011 no such file: own/train.tsv")


def test_lines_from_stdin_are_refused_like_others(shop: Shop) -> None:
    with patch.object(sys, "stdin", io.StringIO("\n \n")):
        done = call("predict", "en/toypos", "--file", "-")
    assert (done.code, done.err.count("AX070")) == (1, 1)
