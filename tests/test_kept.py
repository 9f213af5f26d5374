"""Features kept on disk: what is found is what was made, anything that decides them is in the key, damage is repaired."""

import os
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import toy
from adaptx import kept
from adaptx import learner as learners
from adaptx.config import RunOptions, Settings
from adaptx.engine.packing import Features
from adaptx.jobs import prepare
from adaptx.store import Stored
from adaptx.training import run

TASKS = ("toypos", "toynli", "toytext", "squad_v1", "hellaswag")


@pytest.fixture(autouse=True)
def everything_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SECONDS", 0.0)


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, cache=tmp_path / "cache")


def of(task: str, settings: Settings) -> Settings:
    """Toy tasks have files, the shipped ones here the sample corpus."""
    return settings if task.startswith("toy") else replace(settings, data_root=None)


def folders(settings: Settings) -> set[Path]:
    place = settings.cache / "features"
    return set(place.iterdir()) if place.is_dir() else set()


def same(a: Features, b: Features) -> bool:
    arrays = [f.name for f in fields(Features) if f.name != "extra"]
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays) and (
        a.extra.keys() == b.extra.keys() and all(np.array_equal(a.extra[k], b.extra[k]) for k in a.extra)
    )


@pytest.mark.parametrize("task", TASKS)
def test_what_is_found_is_what_was_made(task: str, own: Settings) -> None:
    job = prepare(of(task, own), "en", task, replace(toy.OPTIONS, limit=20))
    first, again = (learners.build(job).parts[task].features for _ in range(2))
    assert folders(own)
    assert all(same(first[split], again[split]) for split in first)
    assert isinstance(again["train"].ids, np.memmap) and not isinstance(first["train"].ids, np.memmap)


@pytest.mark.parametrize("task", TASKS)
def test_a_run_on_found_features_is_the_same_run(task: str, own: Settings, tmp_path: Path) -> None:
    def trained(name: str) -> Stored:
        place = replace(of(task, own), store=tmp_path / name)
        return run(prepare(place, "en", task, replace(toy.OPTIONS, limit=20, max_steps=4)))

    made, found = trained("made"), trained("found")
    assert made.manifest.metrics == found.manifest.metrics
    assert [f.sha256 for f in made.manifest.files if f.path.endswith("safetensors")] == [
        f.sha256 for f in found.manifest.files if f.path.endswith("safetensors")
    ]


def options() -> Iterator[RunOptions]:
    yield toy.OPTIONS
    yield replace(toy.OPTIONS, limit=5)


def test_whatever_decides_features_is_in_the_key(own: Settings) -> None:
    """Another number of rows, another length bound, other labels and another task make new ones; other training does not."""
    seen = folders(own)
    for one in options():
        learners.build(prepare(own, "en", "toypos", one))
        assert folders(own) > seen
        seen = folders(own)
    learners.build(prepare(own, "en", "toypos", replace(toy.OPTIONS, lr=0.5, seed=7, method="lora")))
    assert folders(own) == seen
    job = prepare(own, "en", "toypos", toy.OPTIONS)
    [task] = job.tasks
    for other in (
        task.model_copy(update={"train": task.train.model_copy(update={"max_tokens": 9})}),
        task.model_copy(update={"labels": (*(task.labels or ()), "MORE")}),
    ):
        learners.build(replace(job, tasks=(other,)))
        assert folders(own) > seen
        seen = folders(own)


@pytest.mark.parametrize("damage", ["cut", "gone", "empty", "changed", "no sums"])
def test_features_that_are_not_whole_are_made_again(damage: str, own: Settings) -> None:
    job = prepare(own, "en", "toypos", toy.OPTIONS)
    first = learners.build(job).parts["toypos"].features["train"]
    for folder in folders(own):
        file = folder / "ids.npy"
        if damage == "gone":
            file.unlink()
        elif damage == "changed":
            file.write_bytes(file.read_bytes()[:-1] + b"\xff")
        elif damage == "no sums":
            (folder / kept.SUMS).unlink()
        else:
            file.write_bytes(file.read_bytes()[: 0 if damage == "empty" else -5])
    again = learners.build(job).parts["toypos"].features["train"]
    assert same(first, again)
    assert isinstance(learners.build(job).parts["toypos"].features["train"].ids, np.memmap)


def test_what_nothing_has_read_for_long_goes_when_others_are_written(own: Settings) -> None:
    learners.build(prepare(own, "en", "toypos", toy.OPTIONS))
    first = folders(own)
    old = time.time() - (kept.DAYS + 1) * 86_400
    for folder in first:
        os.utime(folder, (old, old))
    learners.build(prepare(own, "en", "toypos", toy.OPTIONS))  # reads them: they are young again
    assert folders(own) == first
    [unused, *used] = first
    os.utime(unused, (old, old))
    learners.build(prepare(own, "en", "toynli", toy.OPTIONS))
    assert used and folders(own) > set(used)
    assert unused not in folders(own)


def test_a_cache_that_cannot_be_written_stops_nothing(own: Settings) -> None:
    own.cache.mkdir(parents=True, exist_ok=True)
    (own.cache / "features").write_text("a file where the folder should be")
    assert learners.build(prepare(own, "en", "toypos", toy.OPTIONS)).parts["toypos"].features["train"].sequences


def test_what_is_made_in_no_time_is_not_kept(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SECONDS", 60.0)
    learners.build(prepare(own, "en", "toypos", toy.OPTIONS))
    assert not folders(own)
