"""The command line under test: a store with adapters of every task kind, and a way to call commands in this process."""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import toy
from adaptx import cli
from adaptx.config import Settings

TRAIN = ("train-adapter", "--lang", "en", "--task", "toynli")
TOYSPAN = """
kind: span_qa
title: toy questions
roles: [intermediate]
metrics: [squad_f1, squad_em]
train: {epochs: 1, batch_tokens: 128, max_tokens: 48}
sources:
  - kind: local
    languages: [en]
    licence: CC0-1.0
    format: jsonl
    options: {example: span, columns: {question: question, context: context, answers: answers}}
    splits: {train: [{files: ["toyspan.jsonl"]}]}
"""
TOYCHOICE = """
kind: multiple_choice
title: toy choices
roles: [intermediate]
metrics: [choice_accuracy]
train: {epochs: 1, batch_tokens: 128, max_tokens: 48}
sources:
  - kind: local
    languages: [en]
    licence: CC0-1.0
    format: jsonl
    options: {example: choice, columns: {context: context, choices: choices, label: label}}
    splits: {train: [{files: ["toychoice.jsonl"]}]}
"""
SPAN = {
    "question": "tusa pame",
    "context": "tusa pame ropi .",
    "answers": {"text": ["pame"], "answer_start": [5]},
}
CHOICE = {"context": "tusa pame", "choices": ["ropi", "bado", "lemi"], "label": 1}


@dataclass(frozen=True)
class Shop:
    """A registry, data and a store; tests add to the store and change nothing."""

    settings: Settings

    @property
    def data(self) -> Path:
        assert self.settings.data_root is not None
        return self.settings.data_root

    @property
    def registry(self) -> Path:
        assert self.settings.registry.overlay is not None
        return self.settings.registry.overlay

    @property
    def other(self) -> Path:
        """A backbone with other weights."""
        return Path(self.settings.backbone).with_name("other")

    @property
    def twins(self) -> dict[str, str]:
        """Environment variables that make a command use all this."""
        s = self.settings
        places = {"STORE": s.store, "CACHE": s.cache, "DATA": self.data, "REGISTRY": self.registry}
        values = {**places, "BACKBONE": s.backbone, "DEVICE": "cpu", "PRECISION": "fp32"}
        return {f"ADAPTX_{k}": str(v) for k, v in values.items()}


def build(world: toy.World, root: Path) -> Shop:
    """Adapters without training: two intermediate ones, two targets, a language one, and those of two more kinds."""
    registry, data = toy.write_registry(root / "registry"), toy.write_data(root / "data")
    toy.put(registry / "tasks" / "toyspan.yaml", TOYSPAN)
    toy.put(registry / "tasks" / "toychoice.yaml", TOYCHOICE)
    toy.put(data / "toyspan.jsonl", f"{json.dumps(SPAN)}\n" * 8)
    toy.put(data / "toychoice.jsonl", f"{json.dumps(CHOICE)}\n" * 8)
    settings = toy.settings(world, root / "store", registry=registry, data_root=data)
    origin = toy.made(settings, "pfeiffer")
    toy.made(settings, "pfeiffer", name="toypos")
    toy.made(settings, "pfeiffer", name="toypos", init_from=origin)
    for name in ("toyspan", "toychoice", "toytext"):
        toy.made(settings, "pfeiffer", name=name)
    toy.made(settings, "lora", lang="qaa")
    return Shop(settings)


@contextmanager
def surroundings(values: dict[str, str]) -> Iterator[None]:
    """Within the block commands find `values` in their environment."""
    with patch.dict(os.environ, values):
        yield


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit status, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def call(*arguments: object) -> Outcome:
    """Run a command in this process, through everything that turns its errors into messages and exit statuses."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", ["adaptx", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(code, out.getvalue(), err.getvalue())


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder with its size and time of change."""
    found = {p.relative_to(folder).as_posix(): p.lstat() for p in folder.rglob("*")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}
