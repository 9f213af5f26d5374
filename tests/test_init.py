"""`adaptx init`: the file it writes is a study, says what there was to choose from, and asks only on a terminal."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import typer
import yaml

import shop as shops
import toy
from adaptx.config import resolve
from adaptx.registry import Registry
from adaptx.study import draft, plan
from shop import Shop, call


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written into an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def built(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return shops.build(world, tmp_path_factory.mktemp("shop"))


@pytest.fixture
def shop(built: Shop) -> Iterator[Shop]:
    with shops.surroundings(built.twins):
        yield built


def written(name: str) -> dict[str, object]:
    value = yaml.safe_load(Path(name).read_text("utf-8"))
    assert isinstance(value, dict)
    return value


def answered(*answers: str, flags: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit status and questions of `adaptx init` where a person types `answers`."""
    typed = io.StringIO("".join(f"{a}\n" for a in answers))
    with patch.object(sys, "stdin", typed), patch("adaptx.cli.init.on_terminal", lambda: True):
        done = call("init", *flags)
    return done.code, done.err


@pytest.mark.parametrize("lang", ["fi", "et", "sv", "de"])
def test_without_questions_it_proposes_a_study_that_can_be_run_here(lang: str) -> None:
    done = call("init", "--lang", lang, "--json")
    assert done.code == 0, done.err
    name = f"study-{lang}.yaml"
    value = written(name)
    here = resolve(profile="local")
    planned = plan.expand(plan.read(Path(name), here), here)
    assert planned.gaps == ()
    assert (len(planned.steps), len(planned.cells)) == (done.json["runs"], done.json["scores"])
    assert value["language"] == lang
    sources = value["sources"]
    assert isinstance(sources, list)
    assert sources[0] == "en"
    assert lang not in sources


def test_the_file_opens_with_the_command_that_runs_it_and_explains_every_field() -> None:
    assert call("init", "mine.yaml", "--lang", "fi").code == 0
    lines = Path("mine.yaml").read_text("utf-8").splitlines()
    assert lines[0] == "# adaptx study run mine.yaml"
    fields = [i for i, line in enumerate(lines) if line and line[0].isalpha() and not line.startswith(("title", "target:"))]
    assert {lines[i].partition(":")[0] for i in fields} >= {"language", "sources", "tasks", "methods", "targets", "seeds"}
    assert [lines[i] for i in fields if not lines[i - 1].startswith("# ")] == []
    shown = Path("mine.yaml").read_text("utf-8")
    for task in Registry().tasks("intermediate"):
        assert task.id in shown


def test_flags_are_taken_as_they_are(shop: Shop) -> None:
    done = call(
        *("init", "mine.yaml", "--lang", "qaa", "--sources", "qaa, en", "--tasks", "toynli"),
        *("--targets", "toypos", "--methods", "lora,pfeiffer", "--seeds", "2"),
    )
    assert done.code == 0, done.err
    value = written("mine.yaml")
    assert {k: value[k] for k in ("language", "sources", "tasks", "targets", "methods", "seeds")} == {
        "language": "qaa",
        "sources": ["qaa", "en"],
        "tasks": ["toynli"],
        "targets": ["toypos"],
        "methods": ["lora", "pfeiffer"],
        "seeds": [0, 1],
    }
    assert "next: adaptx study plan mine.yaml" in done.out


def test_on_a_terminal_it_asks_five_questions_and_takes_what_is_proposed_for_an_empty_answer() -> None:
    code, asked = answered("fi", "anli", "sv,et", "lora", "1")
    assert code == 0, asked
    assert [n for n in range(1, 7) if f"{n}/5 " in asked] == [1, 2, 3, 4, 5]
    value = written("study-fi.yaml")
    assert (value["tasks"], value["sources"], value["methods"], value["seeds"]) == (["anli"], ["sv", "et"], ["lora"], [0])
    code, _ = answered("et", "", "", "", "")
    assert code == 0
    proposed = written("study-et.yaml")
    assert call("init", "again.yaml", "--lang", "et").code == 0
    assert written("again.yaml") == proposed


def test_what_a_flag_has_said_is_not_asked_and_a_wrong_answer_is_asked_again() -> None:
    code, asked = answered("anlo", "anli", "1", flags=("--lang", "fi", "--sources", "sv", "--methods", "lora"))
    assert code == 0, asked
    assert "1/5" not in asked
    assert "3/5" not in asked
    assert "4/5" not in asked
    assert asked.count("2/5") == 2
    assert "Did you mean anli" in asked
    assert written("study-fi.yaml")["tasks"] == ["anli"]


def test_a_real_terminal_is_one() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "import sys; from adaptx.cli import main; main()", "init", "--seeds", "1"]
    places = {"PYTHONPATH": str(toy.TESTS.parent / "src"), "NO_COLOR": "1"}
    child = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, **places})
    os.close(theirs)
    os.write(ours, b"fi\n\n\n\n")
    assert child.stdout is not None
    out = child.stdout.read().decode()
    assert child.wait(60) == 0
    os.close(ours)
    assert "next: adaptx study plan study-fi.yaml" in out
    assert written("study-fi.yaml")["seeds"] == [0]


def test_ctrl_c_at_a_question_ends_with_130_and_writes_nothing() -> None:
    with patch("typer.prompt", side_effect=typer.Abort):
        code, said = answered()
    assert (code, "interrupted" in said) == (130, True)
    assert list(Path().iterdir()) == []


def test_elsewhere_it_asks_nothing_and_needs_the_language() -> None:
    with patch.object(sys, "stdin", io.StringIO("fi\n")):
        done = call("init")
    assert (done.code, "AX070" in done.err, "--lang" in done.err) == (1, True, True)
    assert list(Path().iterdir()) == []


def test_a_file_that_is_there_is_kept_unless_it_shall_be_replaced() -> None:
    Path("study-fi.yaml").write_text("mine", "utf-8")
    done = call("init", "--lang", "fi")
    assert (done.code, "AX072" in done.err) == (1, True)
    assert Path("study-fi.yaml").read_text("utf-8") == "mine"
    assert call("init", "--lang", "fi", "--force").code == 0
    assert written("study-fi.yaml")["language"] == "fi"


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--lang", "finnish"), "AX001", "Did you mean fi?"),
        (("--lang", "hu"), "AX014", "--profile paper"),
        (("--lang", "fi", "--tasks", "anlo"), "AX010", "Did you mean anli"),
        (("--lang", "fi", "--sources", "xx"), "AX010", "xx"),
        (("--lang", "fi", "--methods", "lorra"), "AX010", "Did you mean lora"),
        (("--lang", "fi", "--targets", "anli"), "AX010", "not a target task"),
    ],
)
def test_what_cannot_become_a_study_is_refused_and_nothing_is_written(
    flags: tuple[str, ...], code: str, words: str
) -> None:
    done = call("init", *flags)
    assert (done.code, code in done.err, words in done.err) == (1, True, True), done.err
    assert list(Path().iterdir()) == []


def test_codes_that_yaml_would_misread_stay_names(shop: Shop) -> None:
    have = draft.Choices("no", {"no": ("toynli",), "en": ("toynli",)}, ("toypos",))
    text = draft.render(draft.Draft("no", ("no",), ("toynli",), ("toypos",)), have, shop.settings, "no.yaml")
    study = plan.checked(yaml.safe_load(text), Path("no.yaml"), shop.settings)
    assert (study.language, study.sources) == ("no", ("no",))
