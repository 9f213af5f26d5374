"""What a study will cost: which steps are done already, and how long the others take by rates that were measured.

Reads data and the store; trains only when asked to measure, and then into a folder that is thrown away.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adaptx import backbones, jobs, store, training
from adaptx.config import RunOptions, Settings
from adaptx.data.examples import Example
from adaptx.jobs import Job, planned_tokens
from adaptx.store import Stored
from adaptx.study import journal
from adaptx.study.plan import Cell, Plan, Step, without_parents
from adaptx.study.work import Worker

RATED_STEPS = 20  # a finished run with fewer steps says little about a rate
FORWARD = 2.0  # scoring does about half the work of training an adapter: no backward pass
WARM_UP, MEASURED_STEPS, MEASURED_ROWS = 3, 10, 300


@dataclass(frozen=True)
class Rate:
    """Tokens/s of training and of scoring, seconds of preparing a run, and where they come from."""

    tokens_per_s: float
    scored_per_s: float
    preparing_seconds: float
    origin: str


@dataclass(frozen=True)
class Forecast:
    """The cost of what is left, on one worker: seconds are None where no rate is known for some part.

    `tokens`: to train on; `training_seconds` includes scoring runs on their own dev and test data, `scoring_seconds` is
    for the target language's test sets.
    """

    done: tuple[Step, ...]
    left: tuple[Step, ...]
    cells_left: tuple[Cell, ...]
    tokens: float
    training_seconds: float | None
    scoring_seconds: float | None
    origins: tuple[str, ...]

    @property
    def seconds(self) -> float | None:
        """Of everything."""
        if self.training_seconds is None or self.scoring_seconds is None:
            return None
        return self.training_seconds + self.scoring_seconds

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "steps_done": len(self.done),
            "steps_left": [s.label for s in self.left],
            "cells_left": len(self.cells_left),
            "tokens_left": round(self.tokens),
            "seconds_left": self.seconds,
            "training_seconds_left": self.training_seconds,
            "scoring_seconds_left": self.scoring_seconds,
            "rates": list(self.origins),
        }


def forecast(plan: Plan, settings: Settings, measure: bool = False) -> Forecast:
    """Resolve every step as far as the store allows and add up the time of what is not finished."""
    worker = Worker(settings, plan.study)
    folders: dict[Step, Path] = {}
    left: dict[Step, Job] = {}
    lengths: dict[Step, Job] = {}
    for step in plan.steps:
        if all(s in folders for s in step.needs):
            job = worker.job(step, folders)
            found = job.done
            if found is not None:
                folders[step] = found.folder
                continue
            left[step] = job
        else:  # its parents' run ids are known, its length is what it would be without them
            alone = replace(without_parents(step), seed=plan.study.seeds[0])
            if alone not in lengths:
                lengths[alone] = worker.job(alone, {})
            left[step] = lengths[alone]
    known = journal.remembered(plan, settings.store)
    cells = tuple(c for c in plan.cells if c not in known or known[c].failed or any(s in left for s in c.stack))
    held = store.listing(settings.store)
    rates: dict[tuple[str, str], Rate | None] = {}
    for job in left.values():
        at = (job.recipe.method, job.recipe.task)
        if at not in rates:
            rates[at] = _measured(job) if measure else rate_of(job, held)
    found_rates = [r for r in rates.values() if r] or [_of(s) for s in held if s.manifest.cost["steps"] >= RATED_STEPS]
    training_parts = [_seconds(job, rates[job.recipe.method, job.recipe.task]) for job in left.values()]
    scoring_parts = [_scoring(cell, plan, settings, rates, found_rates) for cell in cells]
    return Forecast(
        tuple(folders),
        tuple(left),
        cells,
        sum(planned_tokens(job) for job in left.values()),
        _sum(training_parts),
        _sum(scoring_parts),
        tuple(sorted({r.origin for r in rates.values() if r})),
    )


def _sum(parts: Sequence[float | None]) -> float | None:
    known = [p for p in parts if p is not None]
    return sum(known) if len(known) == len(parts) else None


def tokens_in(examples: Sequence[Example]) -> float:
    """A rough count, as `planned_tokens` makes it."""
    return sum(len(part) for e in examples for part in jobs.strings(e)) / 3.5 + 2 * len(examples)


def _held_out(job: Job, split: str) -> float:
    return sum(tokens_in(d.examples) for splits in job.data.values() for s, d in splits.items() if s == split)


def _seconds(job: Job, rate: Rate | None) -> float | None:
    """A run's time: steps, a dev score after each epoch, and a test score at the end."""
    if rate is None:
        return None
    tokens = planned_tokens(job)
    an_epoch = sum(tokens_in(splits["train"].examples) for splits in job.data.values())
    scored = _held_out(job, "dev") * max(1, math.ceil(tokens / max(an_epoch, 1.0))) + _held_out(job, "test")
    return tokens / rate.tokens_per_s + scored / rate.scored_per_s + rate.preparing_seconds


def _scoring(
    cell: Cell, plan: Plan, settings: Settings, rates: dict[tuple[str, str], Rate | None], others: Sequence[Rate]
) -> float | None:
    """The time of one score: by the rate of the cell's own target task, else by the mean of what is known."""
    rate = rates.get((cell.method, cell.target))
    speeds = [rate.scored_per_s] if rate else [r.scored_per_s for r in others]
    if not speeds:
        return None
    tokens = tokens_in(jobs.loaded(settings, cell.target, plan.study.language, "test").examples)
    return tokens * len(speeds) / sum(speeds)


def rate_of(job: Job, held: Sequence[Stored]) -> Rate | None:
    """The rate of the newest finished run with the same backbone and method: of the same task if there is one."""
    same = [
        s
        for s in held
        if (s.recipe.method, s.recipe.backbone) == (job.recipe.method, job.recipe.backbone)
        and s.manifest.cost["steps"] >= RATED_STEPS
    ]
    if not same:
        return None
    return _of(max(same, key=lambda s: (s.recipe.task == job.recipe.task, s.manifest.created)))


def _of(stored: Stored) -> Rate:
    cost = stored.manifest.cost
    speed = max(float(cost["tokens_per_s"]), 1e-9)
    origin = f"{speed:.0f} tokens/s from {stored.ref}, finished {stored.manifest.created[:10]}"
    return Rate(speed, FORWARD * speed, float(cost["seconds"].get("prepare", 0.0)), origin)


def _measured(job: Job) -> Rate:
    """The rate of a few steps of the job on a few of its rows, trained into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        o = job.recipe.optimiser
        options = RunOptions(
            job.recipe.method,
            limit=min(MEASURED_ROWS, job.recipe.limit or MEASURED_ROWS),
            max_steps=MEASURED_STEPS,
            batch_tokens=o.batch_tokens,
            precision=job.recipe.precision,
        )
        settings = replace(job.settings, store=Path(folder))
        short = jobs.prepare(settings, job.recipe.lang, job.recipe.task, options)
        few = {
            task: {split: replace(d, examples=d.examples[:MEASURED_ROWS]) for split, d in splits.items()}
            for task, splits in short.data.items()
        }
        short = replace(short, data=few)
        backbones.load(short.files)  # once in a process, and so no part of a run's own time
        steps: list[tuple[float, float]] = []  # tokens and seconds so far

        def note(event: str, values: dict[str, Any]) -> None:
            if event == "step":
                seconds = values["seconds_a_step"] * values["step"]
                steps.append((values["tokens_per_s"] * seconds, seconds))

        stored = training.run(short, note)
    seconds = stored.manifest.cost["seconds"]
    tokens, spent = (b - a for a, b in zip(steps[min(WARM_UP, len(steps)) - 1], steps[-1], strict=True))
    speed = tokens / spent if spent > 0 else float(stored.manifest.cost["tokens_per_s"])
    scored = _held_out(short, "dev") + _held_out(short, "test")
    evaluated = float(seconds.get("evaluate", 0.0))
    origin = f"{speed:.0f} tokens/s from {len(steps)} measured steps of {job.recipe.lang}/{job.recipe.task}"
    return Rate(
        max(speed, 1e-9),
        scored / evaluated if scored and evaluated else FORWARD * speed,
        float(seconds.get("prepare", 0.0)),
        origin,
    )
