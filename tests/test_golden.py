"""Losses that no optimisation may move. `ADAPTX_UPDATE_SNAPSHOTS=1` writes them anew, where learning itself changes."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

import toy
from adaptx import learner as learners
from adaptx.bench.session import loop_options
from adaptx.engine import loop
from adaptx.jobs import prepare

SNAPSHOT = toy.TESTS / "snapshots" / "losses.json"
UPDATE = os.environ.get("ADAPTX_UPDATE_SNAPSHOTS") == "1"  # read before the fixtures clear the environment
RUNS = (
    *(f"{method} {task}" for method in ("pfeiffer", "lora", "full") for task in ("toynli", "toypos", "toytext")),
    "prefix toypos",
)
OPTIONS = replace(toy.OPTIONS, epochs=2, lr=1e-3, batch_tokens=96)


def losses(world: toy.World, store: Path, run: str) -> list[float]:
    """Of every step in fp32, the head's dropout included."""
    method, task = run.split()
    job = prepare(toy.settings(world, store), "en", task, replace(OPTIONS, method=method))
    learner = learners.build(job)
    hooks = loop.Hooks(learner.plan, learner.loss, None, lambda *_: None, learner.items)
    return loop.train(learner.model, hooks, loop_options(job)).losses


@pytest.mark.parametrize("run", RUNS)
def test_every_step_has_the_loss_that_it_had(run: str, world: toy.World, tmp_path: Path) -> None:
    found = losses(world, tmp_path, run)
    known = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.is_file() else {}
    if UPDATE:
        SNAPSHOT.write_text(json.dumps({**known, run: [round(x, 6) for x in found]}, indent=1) + "\n")
        return
    assert found == pytest.approx(known[run], rel=1e-4)
    assert found != pytest.approx(known[next(r for r in RUNS if r != run)], rel=1e-4)
