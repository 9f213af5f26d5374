"""Executes a study: every step once, every cell scored, failures recorded and passed by, results written.

Order and bookkeeping only; `work` does the work and an executor decides where. Being killed at any moment loses at
most the units under way, and those go on from their checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptx.config import Settings
from adaptx.study import journal, results
from adaptx.study.executors import Executor
from adaptx.study.plan import Plan, Step
from adaptx.study.work import Outcome, Unit, failure
from adaptx.training import Report, silent


@dataclass(frozen=True)
class Summary:
    """What a run of a study did: units by event, collapsed steps and cells, failures by label, result files."""

    trained: int
    found: int
    scored: int
    collapsed: tuple[str, ...]
    failed: dict[str, str]
    files: tuple[Path, ...]

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


def run(plan: Plan, settings: Settings, executor: Executor, report: Report = silent) -> Summary:
    """Do everything the plan asks for; what the store has is found. Results are written even when interrupted."""
    folder = plan.folder(settings.store)
    outcomes: dict[Unit, Outcome] = {}
    try:
        _all(plan, settings, executor, outcomes, folder, report)
    finally:
        executor.close()
        if outcomes:
            results.write(results.frame(plan, outcomes), folder)
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
) -> None:
    waiting = _in_order(plan)
    folders: dict[Step, Path] = {}
    before = journal.latest(folder)
    running = 0

    def book(unit: Unit, outcome: Outcome) -> None:
        outcomes[unit] = outcome
        if isinstance(unit, Step) and not outcome.failed:
            folders[unit] = settings.store / outcome.values["folder"]
        if outcome.event != "found" or before.get(unit.label, {}).get("run") != outcome.values["run"]:
            journal.append(folder, outcome.event, unit.label, **outcome.values)
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
    left = failure("AX090", f"not run, because {cause}", cause=cause)
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
    last = journal.latest(plan.folder(store))
    done, failed, left, bad = [], {}, [], []
    units: tuple[Unit, ...] = (*plan.steps, *plan.cells)
    for unit in units:
        event = last.get(unit.label)
        if event is None or not (event["event"] == "failed" or _there(event, store)):
            left.append(unit.label)
        elif event["event"] == "failed":
            failed[unit.label] = str(event["error"]["message"])
        else:
            done.append(unit.label)
        if event and event.get("collapsed"):
            bad.append(unit.label)
    return Status(tuple(done), failed, tuple(left), tuple(bad), len(plan.steps), len(plan.cells))


def _there(event: Mapping[str, Any], store: Path) -> bool:
    place = event.get("folder") or event.get("file")
    return bool(place) and (store / str(place)).exists()
