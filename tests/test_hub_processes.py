"""Eight processes share one hub, some are killed: nothing is lost and nothing is half there."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import hub_toy
import s3_server
import toy
from adaptx import hub, store
from adaptx.config import Settings

PROCESSES, KILLED, STEPS, PATIENCE_SECONDS = 8, 3, 10, 120


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty hub that every process of this test can reach."""
    if request.param == "folder":
        yield (tmp_path / "hub").as_uri()
        return
    with s3_server.serve() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{s3_server.BUCKET}/hub"


def started(number: int, root: Path, world: toy.World, place: str) -> "subprocess.Popen[bytes]":
    paths = [str(toy.TESTS.parent / "src"), str(toy.TESTS)]
    words = (str(toy.TESTS / "hub_worker.py"), str(number), str(root), str(world.root), place)
    with open(root / f"said{number}", "wb") as out, open(root / f"complaint{number}", "wb") as err:
        return subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
            stdout=out,
            stderr=err,
        )


def said(root: Path) -> list[list[str]]:
    """What the workers have done so far: "push" or "remove", and the version."""
    return [line.split() for path in root.glob("said*") for line in path.read_text().splitlines()]


def work(root: Path, world: toy.World, place: str) -> list[list[str]]:
    """Let the processes work, kill some of them at random moments, and stop the others a while later."""

    def wait_for(steps: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(said(root)) < steps:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    rng, workers = random.Random(0), [started(i, root, world, place) for i in range(PROCESSES)]
    try:
        wait_for(STEPS)
        for victim in rng.sample(workers, KILLED):
            time.sleep(rng.uniform(0.2, 0.8))
            victim.send_signal(signal.SIGKILL)
        wait_for(len(said(root)) + STEPS)
    finally:
        (root / "stop").touch()
        for worker in workers:
            worker.wait(PATIENCE_SECONDS)
    ends = [w.returncode for w in workers]
    complaints = [p.read_text() for p in root.glob("complaint*")]
    assert sorted(ends) == [-signal.SIGKILL] * KILLED + [0] * (PROCESSES - KILLED), complaints
    return said(root)


@pytest.mark.slow
def test_a_hub_shared_by_eight_processes_survives_three_kills(
    settings: Settings, world: toy.World, tmp_path: Path, place: str
) -> None:
    hub_toy.small(settings)  # the backbone's hash is in the cache before anyone asks for it
    done = work(tmp_path, world, place)
    pushed, removed = ({v[:16] for w, v in done if w == what} for what in ("push", "remove"))
    assert len(pushed) > PROCESSES and removed
    verdicts = hub.verify(place, settings.cache)
    assert all(v.ok for v in verdicts), [v for v in verdicts if not v.ok]
    listed = {v.version for v in verdicts}
    assert pushed - removed <= listed, "a finished push was lost"
    assert len(listed - pushed) <= KILLED, "at most the push that a kill cut short went unreported"
    for folder in tmp_path.glob("store*"):
        assert all(store.verified(s.folder) for s in store.listing(folder))
