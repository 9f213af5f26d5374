"""From the results table to what can be said: summaries, differences, variance, rankings, selection, regret.

Reads the per-example statistics of scored cells from the store; knows no training and draws nothing. Collapsed and
failed cells never enter a mean.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptx.metrics import METRICS
from adaptx.study.plan import ENGLISH, MAIN, NONE, Gap, Study
from adaptx.study.statistics.crossed import Difference, Paired, differences, paired
from adaptx.study.statistics.multiple import holm
from adaptx.study.statistics.ranking import english_selected, kendall_between_seeds, regret_at
from adaptx.study.statistics.seeds import Summary, summarise
from adaptx.study.statistics.variance import COMPONENTS, Decomposition, anova, mixed_model

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05


@dataclass(frozen=True, order=True)
class System:
    """What is compared: everything about a cell but its seed."""

    target: str
    source: str
    task: str
    method: str
    variant: str

    @property
    def name(self) -> str:
        """For people."""
        origin = "no intermediate task" if self.source == NONE else f"{self.source}/{self.task}"
        return f"{origin} ({self.method}{'' if self.variant == MAIN else f', {self.variant}'})"


@dataclass(frozen=True)
class Row:
    """A system over its seeds that worked; `lost` seeds collapsed or failed. Cost is the mean over seeds."""

    system: System
    metric: str
    summary: Summary | None
    lost: int
    n: int
    seconds: float
    parameters: int


@dataclass(frozen=True)
class Delta:
    """A system against another; `adjusted`: Holm's p over all differences of the same kind and target."""

    system: System
    against: str  # "English" or "none"
    result: Difference
    adjusted: float


@dataclass(frozen=True)
class Variance:
    """The decomposition of one target and method; `likelihood`: by the mixed model, as a check."""

    target: str
    method: str
    metric: str
    shape: tuple[int, int, int]
    moments: Decomposition
    likelihood: dict[str, float] | None


@dataclass(frozen=True)
class Choice:
    """Choosing a system by English dev scores, against the best on the target: means over `seeds`."""

    target: str
    method: str
    score: float
    best: float
    seeds: int


@dataclass(frozen=True)
class Stability:
    """Kendall's tau between seeds: mean, least, greatest, over `systems` systems."""

    target: str
    method: str
    taus: tuple[float, float, float]
    systems: int


@dataclass(frozen=True)
class Regret:
    """Mean over intermediate tasks of what is lost with the first k sources of an ordering."""

    target: str
    method: str
    ordering: str
    at: dict[int, float]


@dataclass(frozen=True)
class Analysis:
    """All that a report says about a study."""

    id: str
    study: Study
    gaps: tuple[Gap, ...]
    table: "pd.DataFrame"
    rows: tuple[Row, ...]
    deltas: tuple[Delta, ...]
    variances: tuple[Variance, ...]
    choices: tuple[Choice, ...]
    stabilities: tuple[Stability, ...]
    regrets: tuple[Regret, ...]

    def row(self, system: System) -> Row | None:
        """The row of a system."""
        return next((r for r in self.rows if r.system == system), None)


def analyse(name: str, study: Study, gaps: tuple[Gap, ...], table: "pd.DataFrame", store: Path) -> Analysis:
    """Every statistic of a study from its table and the scores in the store."""
    leading = table[table["leading"]]
    good = leading[leading["status"] == "ok"]
    rows = tuple(_rows(leading))
    main = good[(good["variant"] == MAIN) & (good["source"] != NONE)]
    groups = [(str(t), str(m), part) for (t, m), part in main.groupby(["target", "method"], sort=True)]
    return Analysis(
        name,
        study,
        gaps,
        table,
        rows,
        tuple(_deltas(good, store)),
        tuple(v for t, m, part in groups for v in _variance(t, m, part)),
        tuple(v for t, m, part in groups for v in _choice(t, m, part)),
        tuple(v for t, m, part in groups for v in _stability(t, m, part)),
        tuple(v for t, m, part in groups for v in _regret(t, m, part, study)),
    )


def system_of(row: Any) -> System:
    """The system of a row of the table."""
    return System(row.target, row.source, row.task, row.method, row.variant)


def _rows(leading: "pd.DataFrame") -> Iterator[Row]:
    for _, part in leading.groupby(["target", "source", "task", "method", "variant"], sort=True):
        good = part[part["status"] == "ok"]
        first = (good if len(good) else part).iloc[0]
        yield Row(
            system_of(first),
            str(first["metric"]),
            summarise(good["score"].tolist()) if len(good) else None,
            len(part) - len(good),
            0 if np.isnan(first["n"]) else int(first["n"]),
            float(part["train_seconds"].mean()),
            int(part["trainable_parameters"].max()),
        )


def _statistics(store: Path, file: str) -> "np.ndarray[Any, Any]":
    """Sufficient statistics [n, k] of a scored cell."""
    return np.asarray(json.loads((store / file).read_text("utf-8"))["stats"], dtype=np.float64)


def _deltas(good: "pd.DataFrame", store: Path) -> Iterator[Delta]:
    """Every system against no intermediate task, and against English on the same intermediate task, seeds in common."""
    cache: dict[str, Any] = {}

    def stats(row: Any) -> "np.ndarray[Any, Any]":
        if row.score_file not in cache:
            cache[row.score_file] = _statistics(store, row.score_file)
        value: np.ndarray[Any, Any] = cache[row.score_file]
        return value

    by_system: dict[System, dict[int, Any]] = {}
    for row in good.itertuples():
        by_system.setdefault(system_of(row), {})[int(row.seed)] = row
    found: dict[tuple[str, str], dict[System, Paired]] = {}
    for system, rows in by_system.items():
        others = {"none": replace(system, source=NONE, task=NONE), "English": replace(system, source=ENGLISH)}
        for against, other in others.items():
            theirs = by_system.get(other, {})
            seeds = sorted(rows.keys() & theirs.keys())
            if other == system or not seeds or (against == "English" and system.source == NONE):
                continue
            metric = METRICS[rows[seeds[0]].metric_key]
            mine, base = (np.stack([stats(side[s]) for s in seeds]) for side in (rows, theirs))
            found.setdefault((system.target, against), {})[system] = paired(mine, base, metric.reduce)
    for (_, against), family in found.items():
        tested = differences(list(family.values()))
        adjusted = holm([d.p_value for d in tested])
        yield from (Delta(*x) for x in zip(family, [against] * len(family), tested, adjusted, strict=True))


def grid(part: "pd.DataFrame") -> "tuple[list[str], list[str], list[int], np.ndarray[Any, Any]] | None":
    """A full grid [sources, tasks, seeds] of scores: what has holes is dropped, emptiest first. None below 2x2x2."""
    table = part.set_index(["source", "task", "seed"])["score"]
    names = [sorted(set(part[c])) for c in ("source", "task", "seed")]
    full = np.array([[[table.get((a, b, c), np.nan) for c in names[2]] for b in names[1]] for a in names[0]])
    while np.isnan(full).any():
        holes = [(np.isnan(full).mean(axis=tuple(x for x in range(3) if x != axis))) for axis in range(3)]
        axis = max(range(3), key=lambda x: holes[x].max())
        worst = int(holes[axis].argmax())
        full = np.delete(full, worst, axis)
        names[axis] = [v for i, v in enumerate(names[axis]) if i != worst]
        if min(full.shape) < 2:
            return None
    return None if min(full.shape) < 2 else (names[0], names[1], names[2], full)


def _variance(target: str, method: str, part: "pd.DataFrame") -> Iterator[Variance]:
    found = grid(part)
    if found is None:
        return
    scores = found[3]
    levels = [np.unique(part[c], return_inverse=True)[1].astype(np.int64) for c in ("source", "task", "seed")]
    likelihood = mixed_model(part["score"].to_numpy(np.float64), *levels)
    shape = (scores.shape[0], scores.shape[1], scores.shape[2])
    yield Variance(target, method, str(part["metric"].iloc[0]), shape, anova(scores), likelihood)


def _choice(target: str, method: str, part: "pd.DataFrame") -> Iterator[Choice]:
    part = part[part["english_dev"].notna()]
    chosen = [
        english_selected(seed["english_dev"].tolist(), seed["score"].tolist())
        for _, seed in part.groupby("seed")
        if len(seed) > 1
    ]
    if chosen:
        score, best = (float(np.mean([getattr(c, name) for c in chosen])) for name in ("score", "best"))
        yield Choice(target, method, score, best, len(chosen))


def _stability(target: str, method: str, part: "pd.DataFrame") -> Iterator[Stability]:
    wide = part.pivot_table(index="seed", columns=["source", "task"], values="score").dropna(axis=1)
    taus = kendall_between_seeds(wide.to_numpy(np.float64))
    if taus is not None:
        yield Stability(target, method, taus, wide.shape[1])


def _regret(target: str, method: str, part: "pd.DataFrame", study: Study) -> Iterator[Regret]:
    means = part.groupby(["task", "source"])["score"].mean()
    by_task = {str(t): {str(s): float(v) for s, v in means[t].items()} for t in sorted(set(part["task"]))}
    alphabetical = {"alphabetical (no belief)": tuple(sorted(set(part["source"])))}
    for name, ordering in (*study.orderings.items(), *alphabetical.items()):
        sizes = range(1, min(3, len(ordering)) + 1)
        at = {
            k: float(np.mean([regret_at(ordering, scores, k) for scores in by_task.values()]))
            for k in sizes
            if all(any(s in scores for s in ordering[:k]) for scores in by_task.values())
        }
        yield Regret(target, method, name, at)


def significant(delta: Delta) -> bool:
    """Whether a difference holds at 5 % after Holm's correction."""
    return delta.adjusted < ALPHA


__all__ = ["COMPONENTS", "Analysis", "Delta", "Row", "System", "Variance", "analyse", "significant", "system_of"]
