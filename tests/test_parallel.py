"""Processes that train together do what one does: the same losses, scores and tokens, each with its share of the work."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import toy
from adaptx.engine.parallel import Ranks, shares
from test_parity import sequences

RANK = toy.TESTS / "rank.py"


def trained(world: toy.World, folder: Path, method: str, task: str, processes: int) -> list[dict[str, Any]]:
    """What each of the processes saw."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(processes):
        env = {**os.environ, "PYTHONPATH": f"{toy.TESTS.parent / 'src'}:{toy.TESTS}", "OMP_NUM_THREADS": "1"}
        if processes > 1:
            env |= {"RANK": str(rank), "WORLD_SIZE": str(processes)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, str(RANK), str(world.root), str(folder / "store"), method, task]
        out = folder / f"{rank}.json"
        running.append((subprocess.Popen([*command, str(out)], env=env, stderr=subprocess.PIPE, text=True), out))
    found = []
    for process, out in running:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        found.append(json.loads(out.read_text()))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "task"), [("pfeiffer", "toynli"), ("lora", "toypos"), ("full", "toynli"), ("pfeiffer", "toynli+toypos")]
)
def test_two_processes_do_what_one_does(method: str, task: str, world: toy.World, tmp_path: Path) -> None:
    folders = [tmp_path / str(n) for n in (1, 2)]
    for folder in folders:
        folder.mkdir()
    (alone,) = trained(world, folders[0], method, task, 1)
    first, second = trained(world, folders[1], method, task, 2)
    assert np.allclose(first["losses"], alone["losses"], rtol=0, atol=1e-5)
    assert first["losses"] == second["losses"]
    assert first["tokens"] == second["tokens"] == alone["tokens"]
    assert [s for _, s in first["scores"]] == pytest.approx([s for _, s in alone["scores"]], abs=0.02)
    assert first["folder"] == second["folder"]
    assert first["cost"]["processes"] == 2
    assert "processes" not in alone["cost"]
    here, there = (load_file(Path(v["folder"]) / "head.safetensors") for v in (alone, first))
    assert all(np.allclose(here[k], there[k], atol=1e-3) for k in here)
    assert [p.name for p in (folders[1] / "store").rglob("*.lock")] == []


def test_shares_have_every_sequence_once_and_about_as_many_tokens() -> None:
    features = sequences([5, 60, 9, 33, 7, 12, 30, 4, 18, 22, 41, 3])
    rows = np.arange(12)
    for world in (1, 2, 3, 5):
        parts = shares(features, rows, world)
        assert sorted(np.concatenate(parts)) == list(rows)
        tokens = [int((features.offsets[p + 1] - features.offsets[p]).sum()) for p in parts]
        assert max(tokens) <= 4 / 3 * max(60, features.tokens / world)
    assert list(Ranks().share(features, rows)) == list(rows)
    assert [len(p) for p in shares(features, rows[:1], 2)] == [1, 0], "some may have nothing to do"


def test_what_belongs_together_stays_together() -> None:
    features = sequences([5, 6, 7, 8, 9, 10])
    features.unit[:] = [0, 0, 1, 1, 2, 2]
    for part in shares(features, np.arange(6), 2):
        assert all(np.isin(2 * (r // 2) + np.arange(2), part).all() for r in part)
