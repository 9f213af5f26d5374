"""Zero-shot scores that a store has of an adapter: its own, and those of target adapters that started from it.

Reads the score files that `evaluate` keeps; computes nothing and loads no model.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptx import store
from adaptx.cards import Score
from adaptx.config import Settings
from adaptx.registry import Registry
from adaptx.store import Stored


def zero_shot(settings: Settings, stored: Stored) -> tuple[Score, ...]:
    """Scores of stacks that end in the adapter or in one initialised from it, the newest of each.

    By language, task and system; the metrics of a task in its own order, the leading one first.
    """
    root = settings.store
    runs = {stored.manifest.run} | {
        s.manifest.run
        for s in store.listing(root)
        if any(p.run == stored.manifest.run for p in s.recipe.parent("init_from"))
    }
    backbone = stored.recipe.backbone.name.replace("/", "--")
    files = sorted((root / "scores" / backbone).glob("*/*/*.json"), key=lambda p: p.stat().st_mtime)
    out: dict[tuple[str, ...], Score] = {}
    for path in files:
        for score in _scores(path, runs, settings.registry):
            if (score.lang, score.task) != (stored.recipe.lang, stored.recipe.task):
                out[score.lang, score.task, score.metric, score.system] = score
    return tuple(sorted(out.values(), key=lambda s: (s.lang, s.task, s.system)))


def _scores(path: Path, runs: set[str], registry: Registry) -> Iterator[Score]:
    try:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
        key = raw["key"]
        if not key["stack"] or key["stack"][-1] not in runs:
            return
        kind = registry.task(key["task"]).kind if key["task"] in registry.task_ids() else ""
        for metric, value in raw["metrics"].items():
            low, high = raw["intervals"].get(metric, (value, value))
            yield Score(
                lang=key["lang"],
                task=key["task"],
                kind=kind,
                metric=metric,
                value=value,
                low=low,
                high=high,
                n=raw["n"],
                system=raw["system"],
            )
    except (ValueError, KeyError, TypeError):
        return  # evaluating again reports and renews a damaged score file
