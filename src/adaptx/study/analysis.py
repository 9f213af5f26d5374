"""From the results table to what can be said: summaries, differences, variance, rankings, selection, regret.

Reads the per-example statistics of scored cells from the store; knows no training and draws nothing. Collapsed and
failed cells never enter a mean.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptx.metrics import METRICS
from adaptx.study import kinship
from adaptx.study.findings import (
    Analysis,
    Choice,
    Delta,
    Lost,
    Regret,
    Row,
    Stability,
    System,
    Variance,
)
from adaptx.study.plan import ENGLISH, FULL, MAIN, NONE, Gap, Study
from adaptx.study.statistics.crossed import Paired, differences, paired
from adaptx.study.statistics.multiple import holm
from adaptx.study.statistics.ranking import english_selected, kendall_between_seeds, random_regret_at, regret_at
from adaptx.study.statistics.seeds import summarise
from adaptx.study.statistics.variance import anova, mixed_model, share_intervals

if TYPE_CHECKING:
    import pandas as pd

RANDOM = "a random order (expected)"
MOST_CHOSEN = 3  # the k of regret@k goes up to this


def analyse(name: str, study: Study, gaps: tuple[Gap, ...], table: "pd.DataFrame", store: Path) -> Analysis:
    """Every statistic of a study from its table and the scores in the store."""
    leading = table[table["leading"]]
    good = leading[leading["status"] == "ok"]
    main = good[good["variant"] == MAIN]
    parts = {(str(t), str(m)): part for (t, m), part in main.groupby(["target", "method"], sort=True)}
    order = sorted(parts, key=lambda at: (study.targets.index(at[0]), at[1]))
    whole = [(target, method, parts[target, method]) for target, method in order]
    grids = [(t, m, part[part["source"] != NONE]) for t, m, part in whole if (part["source"] != NONE).any()]
    orderings = {**kinship.read(store / "studies" / name), **study.orderings}
    return Analysis(
        name,
        study,
        gaps,
        table,
        tuple(_rows(leading)),
        tuple(_lost(leading)),
        tuple(_deltas(good, store)),
        tuple(v for t, m, part in grids for v in _variance(t, m, part)),
        tuple(v for t, m, part in whole for v in _choice(t, m, part)),
        tuple(v for t, m, part in grids for v in _stability(t, m, part)),
        tuple(v for t, m, part in grids for v in _regret(t, m, part, orderings)),
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
            float((good if len(good) else part)["train_seconds"].mean()),
            int(part["trainable_parameters"].max()),
        )


def _lost(leading: "pd.DataFrame") -> Iterator[Lost]:
    def known(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    for row in leading[leading["status"] != "ok"].itertuples():
        yield Lost(system_of(row), int(row.seed), row.status, known(row.score), known(row.chance), row.flags)


def _statistics(store: Path, file: str) -> "np.ndarray[Any, Any]":
    """Sufficient statistics [n, k] of a scored cell."""
    return np.asarray(json.loads((store / file).read_text("utf-8"))["stats"], dtype=np.float64)


def _deltas(good: "pd.DataFrame", store: Path) -> Iterator[Delta]:
    """Every system against no intermediate task, against English on the same intermediate task, and against full
    fine-tuning without one, on the seeds that both have."""
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
        others = {
            "none": replace(system, source=NONE, task=NONE),
            "English": replace(system, source=ENGLISH),
            "full": System(system.target, NONE, NONE, FULL, MAIN),
        }
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


def grid(part: "pd.DataFrame") -> "np.ndarray[Any, Any] | None":
    """A full grid [sources, tasks, seeds] of scores: what has holes is dropped, emptiest first. None where fewer than
    two systems or two seeds are left."""
    table = part.set_index(["source", "task", "seed"])["score"]
    names = [sorted(set(part[c])) for c in ("source", "task", "seed")]
    full = np.array([[[table.get((a, b, c), np.nan) for c in names[2]] for b in names[1]] for a in names[0]])
    while np.isnan(full).any():
        holes = [np.isnan(full).mean(axis=tuple(x for x in range(3) if x != axis)) for axis in range(3)]
        axis = max(range(3), key=lambda x: holes[x].max())
        full = np.delete(full, int(holes[axis].argmax()), axis)
    return full if _decomposable(full.shape) else None


def _decomposable(shape: tuple[int, ...]) -> bool:
    return min(shape) > 0 and shape[2] > 1 and max(shape[:2]) > 1


def _variance(target: str, method: str, part: "pd.DataFrame") -> Iterator[Variance]:
    names = ("source", "task", "seed")
    levels = [np.unique(part[c], return_inverse=True)[1].astype(np.int64) for c in names]
    counts = tuple(len(set(v)) for v in levels)
    if not _decomposable(counts):
        return
    found = grid(part)
    moments = None if found is None else anova(found)
    yield Variance(
        target,
        method,
        str(part["metric"].iloc[0]),
        mixed_model(part["score"].to_numpy(np.float64), *levels),
        moments,
        None if moments is None else share_intervals(moments),
        dict(zip(names, counts, strict=True)),
    )


def _choice(target: str, method: str, part: "pd.DataFrame") -> Iterator[Choice]:
    part = part[part["english_dev"].notna()]
    chosen = [
        english_selected(seed["english_dev"].tolist(), seed["score"].tolist())
        for _, seed in part.groupby("seed")
        if len(seed) > 1
    ]
    if chosen:
        score, best = (float(np.mean([getattr(c, name) for c in chosen])) for name in ("score", "best"))
        systems = len(set(zip(part["source"], part["task"], strict=True)))
        yield Choice(target, method, score, best, len(chosen), systems, sum(c.gap == 0 for c in chosen))


def _stability(target: str, method: str, part: "pd.DataFrame") -> Iterator[Stability]:
    wide = part.pivot_table(index="seed", columns=["source", "task"], values="score").dropna(axis=1)
    taus = kendall_between_seeds(wide.to_numpy(np.float64))
    if taus is not None:
        yield Stability(target, method, taus, wide.shape[1])


def _regret(
    target: str, method: str, part: "pd.DataFrame", orderings: Mapping[str, tuple[str, ...]]
) -> Iterator[Regret]:
    means = part.groupby(["task", "source"])["score"].mean()
    by_task = [{str(s): float(v) for s, v in means[t].items()} for t in sorted(set(part["task"]))]
    by_task = [scores for scores in by_task if len(scores) > 1]  # one source leaves nothing to choose
    if not by_task:
        return
    sizes = range(1, min(MOST_CHOSEN, *map(len, by_task)) + 1)
    for name, ordering in orderings.items():
        if all(set(scores) <= set(ordering) for scores in by_task):
            at = {k: float(np.mean([regret_at(ordering, scores, k) for scores in by_task])) for k in sizes}
            yield Regret(target, method, name, ordering, at)
    at = {k: float(np.mean([random_regret_at(scores, k) for scores in by_task])) for k in sizes}
    yield Regret(target, method, RANDOM, (), at)


__all__ = ["Analysis", "analyse", "grid", "system_of"]
