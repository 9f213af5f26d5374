"""The manual under test: what its pages tell a reader to type, and a place where it is done.

A fenced block of `bash` holds commands, one of `python` code, and any block with a title is a file of that name. An
HTML comment `<!-- not run: WHY -->` above a block of commands leaves it unrun; its commands are parsed all the same.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer

import shop
import toy
from adaptx import cli

ROOT = toy.TESTS.parent
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+) -->\s*\n)?^```(?P<language>\w+)(?P<rest>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)
TITLE = re.compile(r'title="([^"]+)"')
TOOLS = ("openssl",)  # other programs that pages call


@dataclass(frozen=True)
class Block:
    """A fenced block. `title`: the file that it is; `why`: why it is not run."""

    language: str
    text: str
    title: str = ""
    why: str = ""

    @property
    def commands(self) -> list[str]:
        """Its lines as commands; a backslash joins a line to the next."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def pages() -> list[Path]:
    """README and every page of the manual that a person wrote."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def name(page: Path) -> str:
    """The page's place in the checkout."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    out = []
    for found in FENCE.finditer(page.read_text("utf-8")):
        title = TITLE.search(found["rest"])
        out.append(Block(found["language"], found["text"], title[1] if title else "", found["why"] or ""))
    return out


def recipe(target: str) -> list[str]:
    """The commands of a Makefile target that call adaptx, as they are typed in a shell with the environment active."""
    text = (ROOT / "Makefile").read_text("utf-8")
    found = re.search(rf"^{re.escape(target)}:[^\n]*\n((?:\t[^\n]*\n)+)", text, re.M)
    assert found or re.search(rf"^{re.escape(target)}:", text, re.M), f"the Makefile has no target {target}"
    lines = [line.strip().removeprefix("@").removeprefix("$(BIN)/") for line in found[1].splitlines()] if found else []
    return [line for line in lines if line.startswith("adaptx ")]


VERBS: dict[str, Any] = {}


def verbs() -> dict[str, Any]:
    """Every command by the words that call it."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        yield path, command
        for child, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{path} {child}".strip())

    if not VERBS:
        VERBS.update(walk(typer.main.get_command(cli.app), ""))
    return VERBS


def parse(words: list[str]) -> None:
    """Raise where the words after `adaptx` are no command line of ours: unknown verb, option, missing argument."""
    verb = max((v for v in verbs() if words[: len(v.split())] == v.split()), key=len)
    command = verbs()[verb]
    rest = words[len(verb.split()) :]
    if not verb:  # options of the program itself act when they are parsed
        assert {*rest} <= {o for p in command.params for o in p.opts}, f"adaptx {shlex.join(words)}: no such verb"
        return
    command.make_context(verb, list(rest))


class Reader:
    """A person in an empty folder who types what a page says; short training on a tiny backbone stands for patience."""

    def __init__(self, world: toy.World, folder: Path) -> None:
        self.folder = folder
        self.variables = {
            "ADAPTX_BACKBONE": str(world.backbone("bert")),
            "ADAPTX_CACHE": str(folder / ".cache"),
            "ADAPTX_LIMIT": "24",
            "ADAPTX_MAX_STEPS": "2",
            "ADAPTX_PRECISION": "fp32",
            "ADAPTX_DEVICE": "cpu",
        }
        self.names: dict[str, Any] = {}
        (folder / "configs").symlink_to(ROOT / "configs")

    def follow(self, page: Path) -> int:
        """Do what every block says, in order; how many commands and code blocks were run."""
        done = 0
        with patch.dict(os.environ, self.variables):
            for block in blocks(page):
                if block.title:
                    toy.put(self.folder / block.title, block.text)
                elif block.language == "bash":
                    for line in block.commands:
                        done += self._type(line, not block.why)
                elif block.language == "python" and not block.why:
                    out = StringIO()
                    with redirect_stdout(out), redirect_stderr(out):
                        exec(compile(block.text, f"{name(page)}: python", "exec"), self.names)
                    done += 1
        return done

    def _type(self, line: str, run: bool) -> int:
        words = shlex.split(line, comments=True)
        if words[0] in ("export", "unset"):
            for word in words[1:]:
                variable, _, value = word.partition("=")
                if words[0] == "unset":
                    os.environ.pop(variable, None)
                elif run and variable != "PATH":
                    os.environ[variable] = value
            return 0
        if words[0] == "make":
            return sum(self._type(command, run) for target in words[1:] for command in recipe(target))
        if words[0] in TOOLS:
            if run:
                subprocess.run(words, check=True, capture_output=True, cwd=self.folder)
            return int(run)
        if words[0] == "torchrun":
            words = words[words.index("adaptx") :]
        assert words[0] == "adaptx", f"{line}: what is that?"
        parse(words[1:])
        if run:
            outcome = shop.call(*words[1:])
            assert outcome.code == 0, f"{line}\n{outcome.out}\n{outcome.err}"
        return int(run)
