"""Eight processes share one folder hub, some are killed: nothing is lost and nothing is half there."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import hub_toy
import toy
from adaptx import hub, store
from adaptx.config import Settings

PROCESSES, KILLED, SECONDS = 8, 3, 6.0


def started(number: int, root: Path, world: toy.World) -> "subprocess.Popen[str]":
    paths = [str(toy.TESTS.parent / "src"), str(toy.TESTS)]
    return subprocess.Popen(
        [sys.executable, str(toy.TESTS / "hub_worker.py"), str(number), str(root), str(world.root), str(SECONDS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_hub_shared_by_eight_processes_survives_three_kills(
    settings: Settings, world: toy.World, tmp_path: Path
) -> None:
    hub_toy.small(settings)  # the backbone's hash is in the cache before anyone asks for it
    rng = random.Random(0)
    workers = [started(i, tmp_path, world) for i in range(PROCESSES)]
    for victim in rng.sample(workers, KILLED):
        time.sleep(rng.uniform(1.3, 2.0))
        victim.send_signal(signal.SIGKILL)
    pushed, removed, killed = set(), set(), 0
    for worker in workers:
        out, err = worker.communicate(timeout=120)
        killed += worker.returncode == -signal.SIGKILL
        assert worker.returncode in (0, -signal.SIGKILL), err
        for line in out.splitlines():
            what, version = line.split()
            (pushed if what == "push" else removed).add(version[:16])
    assert killed and len(pushed) > PROCESSES
    place = str(tmp_path / "hub")
    verdicts = hub.verify(place, settings.cache)
    assert all(v.ok for v in verdicts), [v for v in verdicts if not v.ok]
    listed = {v.version for v in verdicts}
    assert pushed - removed <= listed, "a finished push was lost"
    assert len(listed - pushed) <= KILLED, "at most the push that a kill cut short went unreported"
    for folder in tmp_path.glob("store*"):
        assert all(store.verified(s.folder) for s in store.listing(folder))
