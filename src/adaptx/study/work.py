"""What one process does for a study: train a step, score a cell. The same code under every executor.

Knows jobs, training and scoring; knows neither the order of the work nor where its results are collected.
"""

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptx import backbones, jobs, scoring, store, training
from adaptx.chance import Chance, chance_level
from adaptx.config import Settings
from adaptx.data import sources
from adaptx.errors import AdaptxError
from adaptx.jobs import Job
from adaptx.metrics import METRICS
from adaptx.stack import Stack
from adaptx.store import Stored
from adaptx.study.plan import Cell, Step, Study
from adaptx.training import Report, silent

Unit = Step | Cell
MOST_POINTS = 200


@dataclass(frozen=True)
class Outcome:
    """What became of a unit: `event` is trained, found, scored or failed; `values` go into the journal. `curve`: for
    trackers, (step, loss) of at most `MOST_POINTS` steps of training that this process did."""

    event: str
    values: dict[str, Any] = field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the unit did not work."""
        return self.event == "failed"


def failure(code: str, message: str, **more: Any) -> Outcome:
    """The outcome of a unit that did not work; a loss that is not finite (AX040) counts as a collapsed run."""
    return Outcome("failed", {"error": {"code": code, "message": message, **more}, "collapsed": code == "AX040"})


class Worker:
    """Trains and scores in this process; the backbone and the data are loaded once by the modules it calls."""

    def __init__(self, settings: Settings, study: Study, report: Report = silent) -> None:
        self.settings, self.study, self.report = settings, study, report
        self._stored: dict[Path, Stored] = {}

    def __call__(self, unit: Unit, folders: Mapping[Step, Path]) -> Outcome:
        """Do a unit whose needs are finished in `folders`. Every error but an interruption becomes an outcome."""
        try:
            return self.train(unit, folders) if isinstance(unit, Step) else self.score(unit, folders)
        except AdaptxError as error:
            return failure(error.code, str(error))
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            return failure("AX099", f"{type(error).__name__}: {error}", trace=trace)

    def stored(self, folder: Path) -> Stored:
        """The adapter in `folder`, verified once by this process."""
        if folder not in self._stored:
            self._stored[folder] = store.verified(folder)
        return self._stored[folder]

    def job(self, step: Step, folders: Mapping[Step, Path]) -> Job:
        """The step as a resolved run. Raises what `jobs.prepare` raises."""
        return jobs.prepare(
            self.settings,
            step.lang,
            step.task,
            self.study.options(step),
            init_from=self.stored(folders[step.init_from]) if step.init_from else None,
            stack=Stack(tuple(self.stored(folders[s]) for s in step.beneath)),
        )

    def train(self, step: Step, folders: Mapping[Step, Path]) -> Outcome:
        """The finished run of a step."""
        job = self.job(step, folders)
        curve = Curve(self.report)
        stored = training.run(job, curve)
        self._stored[stored.folder] = stored
        cost = stored.manifest.cost
        scores, chance = _own_chance(job, stored)
        values = {
            "run": stored.manifest.run,
            "ref": stored.ref,
            "folder": stored.folder.relative_to(self.settings.store).as_posix(),
            "dev": _leading(stored, job, "dev"),
            "scores": scores,
            "chance": chance and chance.level,
            "collapsed": chance is not None and chance.collapsed(scores),
            "tokens": cost["tokens"],
            "seconds": round(sum(cost["seconds"].values()), 2),
            "steps": cost["steps"],
            "trainable_parameters": cost["trainable_parameters"],
            "peak_memory_bytes": cost["peak_memory_bytes"],
            "created": stored.manifest.created,
            "notes": list(stored.manifest.notes),
            "device": stored.manifest.hardware.get("gpu") or stored.manifest.hardware.get("cpu", ""),
        }
        return Outcome("found" if curve.found else "trained", values, curve.thinned())

    def score(self, cell: Cell, folders: Mapping[Step, Path]) -> Outcome:
        """The scores of a cell."""
        task = self.settings.registry.task(cell.target)
        precision = jobs.precision_for(self.study.precision, backbones.pick_device(self.settings.device))
        stack = Stack(tuple(self.stored(folders[s]) for s in cell.stack))
        self.report("score", {"system": cell.system, "task": cell.target})
        files, began = backbones.locate(self.settings), time.monotonic()
        result = scoring.cell(self.settings, stack, task, self.study.language, precision)
        chance = chance_level(task, jobs.loaded(self.settings, task.id, self.study.language, "test").examples)
        return Outcome(
            "scored",
            {
                "metrics": result.metrics,
                "intervals": {k: list(v) for k, v in result.intervals.items()},
                "metric_key": task.metrics[0],
                "n": result.n,
                "note": result.note,
                "chance": chance and chance.level,
                "chance_metric": chance.metric if chance else "",
                "collapsed": chance is not None and chance.collapsed(result.metrics),
                "file": result.path.relative_to(self.settings.store).as_posix(),
                "backbone": files.name,
                "backbone_sha256": files.weights_sha256,
                "seconds": round(time.monotonic() - began, 2),
            },
        )


class Curve:
    """A reporter that keeps the losses of the steps it is told of, and whether the run was `found` finished, beside the
    one that it passes everything to."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._points: list[tuple[int, float]] = []
        self.found = False

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        self.found |= event == "found"
        if event == "step":
            self._points.append((values["step"], values["loss"]))
        self._report(event, values)

    def thinned(self) -> tuple[tuple[int, float], ...]:
        """Every n-th point, the last one among them."""
        every = -(-len(self._points) // MOST_POINTS) or 1
        return tuple(self._points[::-1][::every][::-1])


def _leading(stored: Stored, job: Job, split: str) -> float | None:
    """The leading metric on a split of a run with one task; None where it has several or lacks the split."""
    task = job.tasks[0]
    value = stored.manifest.metrics.get(split, {}).get(METRICS[task.metrics[0]].name)
    return value if len(job.tasks) == 1 else None


def _own_chance(job: Job, stored: Stored) -> tuple[dict[str, float], Chance | None]:
    """A run's scores in its own language and the chance level there, on dev data, else on test data."""
    task = job.tasks[0]
    for split in sources.HELD_OUT:
        scores, data = stored.manifest.metrics.get(split, {}), job.data[task.id].get(split)
        if len(job.tasks) == 1 and scores and data is not None:
            return scores, chance_level(task, data.examples)
    return {}, None
