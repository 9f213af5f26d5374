"""Killed at any moment, a study goes on where it was."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import toy
from adaptx.study import journal
from study_toy import in_process, lasting, planned

KILLS = int(os.environ.get("STUDY_KILLS", "20"))


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments_a_study_ends_as_if_nothing_had_happened(
    world: toy.World, tmp_path: Path
) -> None:
    chosen = toy.settings(world, tmp_path / "whole")
    plan = planned(chosen)
    in_process(plan, chosen)
    elsewhere, log = replace(chosen, store=tmp_path / "killed"), tmp_path / "log"
    paths = os.pathsep.join([str(toy.TESTS.parent / "src"), str(toy.TESTS)])
    command = [sys.executable, str(toy.TESTS / "study_killed.py"), world.root, elsewhere.store, log, KILLS, 1]
    done = subprocess.run(
        [str(c) for c in command], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["status"] == 0, done.stderr
    assert told["struck"] >= KILLS / 2, "most kills must have met a study at work"
    assert lasting(plan, elsewhere) == lasting(plan, chosen)

    events = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert not any(again for _, _, again in events), "a training began whose result was in the store"
    ended = [ref for event, ref, _ in events if event == "done"]
    assert len(ended) == len(set(ended)), "a run was finished twice"
    starts = [ref for event, ref, _ in events if event == "start"]
    assert len(starts) > len(set(starts)), "no kill met a training: the moments were badly chosen"
    runs = [e["run"] for e in journal.events(plan.folder(elsewhere.store)) if e["event"] in ("trained", "found")]
    assert len(runs) == len(set(runs)) == 10
    assert not list(elsewhere.store.glob(".runs/*")), "no checkpoint is left"
