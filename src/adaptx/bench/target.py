"""Training time until a dev score is reached, with scores taken several times an epoch; they do not count as training.

The schedule is that of the whole run: a learning rate that falls to zero early would flatter no method.
"""

import contextlib
import math
import time
from typing import Any

import torch

from adaptx.bench import memory
from adaptx.bench.session import Session, loop_options, open_session, origin
from adaptx.bench.spec import Spec
from adaptx.config import Settings
from adaptx.engine import loop
from adaptx.engine.loop import Hooks, Progress, Work
from adaptx.errors import AdaptxError
from adaptx.resident import resident

SCORES_AN_EPOCH = 5


class _Reached(Exception):
    """The dev score is there: the rest of the run would tell nothing."""


class Watch:
    """Scores the learner when the loop asks, and remembers when in training that was."""

    def __init__(self, session: Session, target: float) -> None:
        self.session, self.target = session, target
        self.now: Progress | None = None
        self.curve: list[dict[str, float]] = []

    def report(self, now: Progress, steps: int, rate: float) -> None:
        """The loop's report after a step."""
        self.now = now

    def evaluate(self) -> float:
        """The dev score; ends the loop where it is the target or above."""
        score = self.session.learner.dev_score()
        assert self.now is not None
        now = self.now
        self.curve.append({"step": now.step, "seconds": now.train_seconds, "tokens": now.tokens, "score": score})
        if score >= self.target:
            raise _Reached
        return score


def measure(settings: Settings, spec: Spec) -> dict[str, Any]:
    """The record of a "target" measurement. Raises AX051 without dev data or a target, and what training raises."""
    session = open_session(settings, spec)
    if spec.target_score is None or not session.learner.has_dev:
        raise AdaptxError("AX051", spec.name, "a time to a score needs a target score and dev data.")
    plan = chunks(session)
    watch = Watch(session, spec.target_score)
    reset = memory.reset_peak()
    busy = time.process_time()
    with session.clock("train"):
        learner = session.learner
        hooks = Hooks(lambda at: plan[at], learner.loss, watch.evaluate, watch.report, learner.items)
        with contextlib.suppress(_Reached):
            loop.train(learner.model, hooks, loop_options(session.job, epochs=len(plan), max_steps=None))
    share = (time.process_time() - busy) / session.clock.seconds["train"] / torch.get_num_threads()
    last = watch.curve[-1]
    reached = last["score"] >= spec.target_score
    return {
        "parameters": session.parameters(),
        "cpu_share": share if session.device.type == "cpu" else None,
        "target": {
            "score": spec.target_score,
            "metric": session.job.tasks[0].metrics[0],
            "reached": reached,
            "seconds": last["seconds"] if reached else None,
            "tokens": last["tokens"] if reached else None,
            "steps": last["step"] if reached else None,
            "planned_steps": sum(map(len, plan)),
            "dev_examples": sum(len(s["dev"].examples) for s in session.job.data.values()),
            "curve": watch.curve,
        },
        "memory": {"baseline_rss_bytes": session.baseline, "peak_rss_bytes": resident()[1],
                   "peak_was_reset": reset},
        "seconds": dict(session.clock.seconds),
        "origin": origin(session.job),
    }  # fmt: skip


def chunks(session: Session) -> list[list[Work]]:
    """The batches of all epochs in order, cut so that each epoch is scored several times."""
    out: list[list[Work]] = []
    epochs = session.job.recipe.optimiser.epochs
    for epoch in range(math.ceil(epochs)):
        work = session.learner.plan(epoch)
        work = work[: math.ceil(len(work) * min(1.0, epochs - epoch))]
        size = math.ceil(len(work) / SCORES_AN_EPOCH)
        out += [work[at : at + size] for at in range(0, len(work), size)]
    return out
