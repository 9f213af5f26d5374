"""A study that never ran: a results table and scores with planted effects. Knows no test."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adaptx.study import results
from adaptx.study.analysis import analyse
from adaptx.study.findings import Analysis
from adaptx.study.plan import Gap, Study

EFFECTS = {("none", "none"): 0.0, ("en", "anli"): 0.0, ("en", "qqp"): 0.05, ("sv", "anli"): 0.25, ("sv", "qqp"): 0.05}
ITEMS = 200
Effects = dict[tuple[str, str], float]


def fabricated(
    store: Path, lost: tuple[str, str, int] | None = None, effects: Effects = EFFECTS, seed: int = 1, items: int = ITEMS
) -> pd.DataFrame:
    """A results table over planted effects: sv/anli is far better than the rest; `lost` names a collapsed cell."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for number in range(3):
        shared = rng.random(items)
        for (source, task), effect in effects.items():
            own = np.where(rng.random(items) < 0.9, shared, rng.random(items))
            right = (own < 0.5 + effect + rng.normal(0, 0.005)).astype(float)
            file = store / "scores" / f"{source}-{task}-{number}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"stats": np.column_stack([right, np.ones(items)]).tolist()}))
            bad = lost == (source, task, number)
            rows.append(
                {
                    **dict.fromkeys(results.COLUMNS, ""),
                    "language": "fi", "source": source, "task": task, "method": "pfeiffer", "variant": "main",
                    "seed": number, "target": "udpos", "metric": "accuracy", "leading": True,
                    "score": 0.01 if bad else right.mean(), "low": right.mean() - 0.05, "high": right.mean() + 0.05,
                    "n": float(items), "chance": 0.1, "status": "collapsed" if bad else "ok",
                    "flags": "collapsed: x <script>" if bad else "", "english_dev": right.mean(),
                    "train_seconds": 60.0 + 10 * len(source), "intermediate_seconds": 30.0, "target_seconds": 30.0,
                    "intermediate_run": f"i{source}{task}{number}", "target_run": f"t{source}{task}{number}",
                    "train_tokens": 1000, "trainable_parameters": 1000, "peak_memory_bytes": 1, "device": "a cpu",
                    "metric_key": "accuracy", "score_file": file.relative_to(store).as_posix(),
                    "stack": f"{source}/{task}:pfeiffer@0000", "created": "2026-01-02T03:04:05+00:00",
                    "backbone": "toy", "backbone_sha256": "ab" * 32, "data_notes": "translated <by> machine",
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(results.COLUMNS))


def analysed(store: Path, lost: tuple[str, str, int] | None = None) -> Analysis:
    study = Study(
        title="A <b>study</b>", language="fi", sources=("en", "sv"), tasks=("anli", "qqp"), targets=("udpos",),
        orderings={"by hand": ("sv", "en")},
    )  # fmt: skip
    return analyse("study-1", study, (Gap("da/qqp", "no data"),), fabricated(store, lost), store)
