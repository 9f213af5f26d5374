"""Executes a study: every step once, every cell scored, failures recorded and passed by, results written.

Order and bookkeeping only; `work` does the work and an executor decides where. Being killed at any moment loses at
most the units under way, and those go on from their checkpoints.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptx import atomic, backbones
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.study import journal, kinship, results
from adaptx.study.executors import Executor
from adaptx.study.plan import Plan, Step
from adaptx.study.track import Tracker
from adaptx.study.work import Outcome, Unit, failure
from adaptx.training import Report, silent

LEFT_OUT = "AX090"


@dataclass(frozen=True)
class Summary:
    """What a run of a study did: units by event, collapsed steps and cells, failures by label, result files."""

    trained: int
    found: int
    scored: int
    collapsed: tuple[str, ...]
    failed: dict[str, str]
    files: tuple[Path, ...]

    @property
    def causes(self) -> dict[str, str]:
        """Failures without those that only follow from another."""
        return {name: why for name, why in self.failed.items() if not why.startswith(f"{LEFT_OUT} ")}

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "trained": self.trained,
            "found": self.found,
            "scored": self.scored,
            "collapsed": list(self.collapsed),
            "failed": self.failed,
            "files": [f.as_posix() for f in self.files],
        }


def run(
    plan: Plan, settings: Settings, executor: Executor, report: Report = silent, tracker: Tracker | None = None
) -> Summary:
    """Do everything the plan asks for; what the store has is found. Results are written even when interrupted.

    Raises AX024 where another process runs this study in this store, and what `backbones.locate` raises.
    """
    backbones.locate(settings)  # what every unit would fail for is said once
    folder = plan.folder(settings.store)
    outcomes: dict[Unit, Outcome] = {}
    with atomic.lock(folder / "lock") as mine:
        try:
            if not mine:
                raise AdaptxError("AX024", plan.id, "this study is being run by another process.")
            atomic.write_json(folder / "study.json", plan.provenance(settings))
            _all(plan, settings, executor, outcomes, folder, report, tracker)
            kinship.write(plan, settings)
        finally:
            executor.close()
            if tracker is not None:
                tracker.close()
            if mine and outcomes:
                results.write(results.frame(plan, {**journal.remembered(plan, settings.store), **outcomes}), folder)
    count = [o.event for o in outcomes.values()]
    return Summary(
        count.count("trained"),
        count.count("found"),
        count.count("scored"),
        tuple(u.label for u, o in outcomes.items() if o.values.get("collapsed")),
        {u.label: o.values["error"]["message"] for u, o in outcomes.items() if o.failed},
        tuple(folder / f"{results.NAME}.{kind}" for kind in ("csv", "parquet")),
    )


def _all(
    plan: Plan,
    settings: Settings,
    executor: Executor,
    outcomes: dict[Unit, Outcome],
    folder: Path,
    report: Report,
    tracker: Tracker | None,
) -> None:
    waiting = _in_order(plan)
    folders: dict[Step, Path] = {}
    before = journal.latest(folder)
    running = 0

    def book(unit: Unit, outcome: Outcome) -> None:
        outcomes[unit] = outcome
        if isinstance(unit, Step) and not outcome.failed:
            folders[unit] = settings.store / outcome.values["folder"]
        if journal.news(outcome, before.get(unit.label)):
            journal.append(folder, outcome.event, unit.label, **outcome.values)
            if tracker is not None and not outcome.failed:
                tracker.log(unit, outcome)
        report("unit", {"unit": unit.label, "outcome": outcome, "done": len(outcomes), "of": total})

    total = len(waiting)
    while waiting or running:
        for unit in list(waiting):
            if running >= executor.capacity:
                break
            broken = next((s for s in unit.needs if s in outcomes and outcomes[s].failed), None)
            if broken is not None:
                waiting.remove(unit)
                book(unit, _left_out(broken, outcomes[broken]))
            elif all(s in outcomes for s in unit.needs):
                waiting.remove(unit)
                executor.submit(unit, {s: folders[s] for s in unit.needs})
                running += 1
        if running:
            unit, outcome = executor.result()
            running -= 1
            book(unit, outcome)


def _in_order(plan: Plan) -> list[Unit]:
    """Each cell right behind its last step, so that scores come early."""
    out: dict[Unit, None] = {}
    for cell in plan.cells:
        for step in results.needed(cell):
            out[step] = None
        out[cell] = None
    return list(out)


def _left_out(step: Step, outcome: Outcome) -> Outcome:
    """The outcome of a unit whose parent failed; it names the first cause."""
    error = outcome.values["error"]
    cause = error.get("cause", f"{step.label}: {error['message']}")
    left = failure(LEFT_OUT, f"{LEFT_OUT} not run, because {cause}", cause=cause)
    return Outcome("failed", {**left.values, "collapsed": bool(outcome.values.get("collapsed"))})


@dataclass(frozen=True)
class Status:
    """Where a study stands by its journal: labels by state, and the first error of what failed."""

    done: tuple[str, ...]
    failed: dict[str, str]
    open: tuple[str, ...]
    collapsed: tuple[str, ...]
    steps: int
    cells: int

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "steps": self.steps,
            "cells": self.cells,
            "done": len(self.done),
            "open": list(self.open),
            "failed": self.failed,
            "collapsed": list(self.collapsed),
        }


def status(plan: Plan, store: Path) -> Status:
    """What the journal says of every step and cell, where the store still has what it names."""
    known = journal.remembered(plan, store)
    units: tuple[Unit, ...] = (*plan.steps, *plan.cells)
    return Status(
        tuple(u.label for u in units if u in known and not known[u].failed),
        {u.label: str(known[u].values["error"]["message"]) for u in units if u in known and known[u].failed},
        tuple(u.label for u in units if u not in known),
        tuple(u.label for u in units if u in known and known[u].values.get("collapsed")),
        len(plan.steps),
        len(plan.cells),
    )
