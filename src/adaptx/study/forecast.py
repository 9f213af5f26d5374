"""What a study will cost: which steps are done already, and how long the others take by rates that were measured.

Reads data and the store; trains only when asked to measure, and then into a folder that is thrown away.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adaptx import jobs, store, training
from adaptx.config import RunOptions, Settings
from adaptx.jobs import Job, planned_tokens
from adaptx.store import Stored
from adaptx.study.plan import Plan, Step, without_parents
from adaptx.study.work import Worker

RATED_STEPS = 20  # a finished run with fewer steps says little about a rate
MEASURED_STEPS, MEASURED_ROWS = 6, 200


@dataclass(frozen=True)
class Rate:
    """Training speed in tokens/s, seconds around training (preparing, scoring), and where both come from."""

    tokens_per_s: float
    overhead_seconds: float
    origin: str


@dataclass(frozen=True)
class Forecast:
    """The cost of what is left: `seconds` on one worker is None where no rate is known for some step."""

    done: tuple[Step, ...]
    left: tuple[Step, ...]
    tokens: float
    seconds: float | None
    origins: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "steps_done": len(self.done),
            "steps_left": [s.label for s in self.left],
            "tokens_left": round(self.tokens),
            "seconds_left": self.seconds,
            "rates": list(self.origins),
        }


def forecast(plan: Plan, settings: Settings, measure: bool = False) -> Forecast:
    """Resolve every step as far as the store allows and add up the time of those that are not finished."""
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
    held = store.listing(settings.store)
    rates: dict[tuple[str, str], Rate | None] = {}
    for job in left.values():
        at = (job.recipe.method, job.recipe.task)
        if at not in rates:
            rates[at] = _measured(job) if measure else rate_of(job, held)
    tokens = {step: planned_tokens(job) for step, job in left.items()}
    parts: list[float | None] = []
    for step, job in left.items():
        rate = rates[job.recipe.method, job.recipe.task]
        parts.append(tokens[step] / rate.tokens_per_s + rate.overhead_seconds if rate else None)
    known = [p for p in parts if p is not None]
    seconds = sum(known) if len(known) == len(parts) else None
    origins = sorted({r.origin for r in rates.values() if r})
    return Forecast(tuple(folders), tuple(left), sum(tokens.values()), seconds, tuple(origins))


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
    best = max(same, key=lambda s: (s.recipe.task == job.recipe.task, s.manifest.created))
    return _of(best, f"{best.ref}, finished {best.manifest.created[:10]}")


def _of(stored: Stored, origin: str) -> Rate:
    cost = stored.manifest.cost
    around = sum(v for k, v in cost["seconds"].items() if k != "train")
    return Rate(max(cost["tokens_per_s"], 1e-9), around, f"{cost['tokens_per_s']:.0f} tokens/s from {origin}")


def _measured(job: Job) -> Rate:
    """The rate of a few steps of the job on a few of its rows, trained into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        settings = replace(job.settings, store=Path(folder))
        o = job.recipe.optimiser
        options = RunOptions(
            job.recipe.method,
            limit=min(MEASURED_ROWS, job.recipe.limit or MEASURED_ROWS),
            max_steps=MEASURED_STEPS,
            batch_tokens=o.batch_tokens,
            precision=job.recipe.precision,
        )
        stored = training.run(jobs.prepare(settings, job.recipe.lang, job.recipe.task, options))
        return _of(stored, f"{MEASURED_STEPS} measured steps of {job.recipe.lang}/{job.recipe.task}")
