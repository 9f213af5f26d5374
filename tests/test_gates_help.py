"""Help is right: every `--help` ends with an example, the example parses, and where it is cheap it works."""

import os
import shlex
from pathlib import Path
from unittest.mock import patch

import pytest

import pages
import shop
import toy

# Examples that are not run here, and why; they are parsed.
UNRUN = {
    "": "is what README says, and done there",
    "average": "names two runs of somebody's store",
    "hub push": "needs the network",
    "hub import": "names a folder of somebody else",
    "hub remove": "names a run of somebody's store",
    "trim": "takes a minute",
    "bench": "takes minutes and measures the machine",
    "bench cost": "takes minutes and measures the machine",
    "bench accuracy": "takes minutes and measures the machine",
    "bench report": "needs measurements",
    **dict.fromkeys(
        ("study", "study plan", "study run", "study status", "study report", "study export"),
        "the tutorial's study is run, which is a smaller one",
    ),
}
# Run before the others, in this order: they make what the others name.
FIRST = (
    "train-adapter --lang sv --task anli",
    "train-adapter --lang fi --task mlm",
    "train-adapter --lang et --task mlm",
    "train-adapter --lang en --task squad_v1",
    "eval fi --tasks udpos",
    "hub push sv/anli {hub}",
)


def examples(verb: str) -> list[list[str]]:
    """The words of each command in a verb's example, without `adaptx`."""
    epilog = pages.verbs()[verb].epilog or ""
    assert epilog.startswith("Example: adaptx "), f"adaptx {verb} --help ends without an example"
    lines = epilog.removeprefix("Example: ").split("&&")
    assert all(shlex.split(line)[0] == "adaptx" for line in lines)
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize("verb", pages.verbs(), ids=lambda v: v or "adaptx")
def test_the_example_of_a_help_parses(verb: str) -> None:
    for words in examples(verb):
        pages.parse(words)


def test_what_is_left_out_here_exists() -> None:
    planned = {"bench accuracy", "bench report"}
    assert set(UNRUN) - planned <= set(pages.verbs())


@pytest.mark.slow
def test_the_examples_work_where_they_are_cheap(
    world: toy.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reader = pages.Reader(world, tmp_path)
    hub = (tmp_path / "shared").as_uri()
    toy.put(tmp_path / "my-registry" / "tasks" / "mnli.yaml", "title: my own\n")
    failed = {}
    with patch.dict(os.environ, reader.variables):
        for line in FIRST:
            done = shop.call(*shlex.split(line.format(hub=hub)))
            assert done.code == 0, f"{line}\n{done.err}"
        lines = [words for verb in pages.verbs() if verb not in UNRUN for words in examples(verb)]
        # a second adapter of the same name would make the others' references ambiguous
        for words in sorted(lines, key=lambda words: "lora" in shlex.join(words) or words[0] == "train-full"):
            done = shop.call(*(w.replace("file:///srv/adapters", hub) for w in words))
            if done.code:
                failed[shlex.join(words)] = done.err[-600:]
    assert failed == {}


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("trian-adapter", "train-adapter"),
        ("hub psh", "push"),
        ("study rn", "run"),
        ("eval fi --task udpos", "--tasks"),
        ("train-adapter --lang sv --task anli --methd lora", "--method"),
    ],
)
def test_a_mistyped_verb_or_option_is_answered_with_what_was_meant(line: str, meant: str) -> None:
    done = shop.call(*line.split())
    assert (done.code, done.out) == (2, "")
    assert meant in done.err


@pytest.mark.parametrize(
    ("line", "code", "meant"),
    [
        ("explain AX12", "AX070", "AX012"),
        ("train-adapter --lang sv --task anlo", "AX002", "anli"),
        ("train-adapter --lang Swedish --task anli", "AX001", "sv"),
        ("train-adapter --lang sv --task anli --method lorra", "AX003", "lora"),
        ("show sv//anli", "AX005", "sv/anli"),
    ],
)
def test_a_mistyped_name_is_answered_with_what_was_meant(line: str, code: str, meant: str) -> None:
    done = shop.call(*line.split())
    assert done.code == 1
    assert code in done.err
    assert meant in done.err
    assert "Traceback" not in done.err
