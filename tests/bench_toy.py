"""Measurements of the toy world: specs over it, and the worker called in this process with a small matrix product."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from adaptx.bench.places import Places
from adaptx.bench.spec import Spec, parse_label
from adaptx.config import Settings

SMALL = {"cpu": ((64, 64, 64),)}


def spec(label: str = "pfeiffer", **changes: Any) -> Spec:
    """A measurement of three steps on the toy world's tags."""
    values = {
        "precision": "fp32", "backbone": "bert", "data": "local", "task": "toypos", "batch_tokens": 128, "limit": 40,
        "warm_up": 1, "steps": 3, **parse_label(label),
    }  # fmt: skip
    return Spec.model_validate({**values, **changes})


def shaped(label: str = "pfeiffer", **changes: Any) -> Spec:
    """The same over a made-up world of the smallest shape."""
    made = {"backbone": "toy-random", "data": "shape", "shape": "toy", "lengths": "nli", "task": "synthetic"}
    return spec(label, **{**made, **changes})


@contextmanager
def quick() -> Iterator[None]:
    """Within the block the device's own speed is read off one small product."""
    with patch("adaptx.bench.gemm.SHAPES", SMALL), patch("adaptx.bench.gemm.SECONDS", {"cpu": 0.001}):
        yield


def order(settings: Settings, one: Spec) -> dict[str, Any]:
    """What a harness would hand to the worker."""
    places = Places.of(settings).as_json()
    return {"spec": one.model_dump(mode="json"), "places": places, "spawned": time.monotonic()}


def measured(settings: Settings, one: Spec) -> dict[str, Any]:
    """The record of a measurement in this process, as it would come out of a file."""
    from adaptx.bench import worker

    with quick():
        outcome = worker.perform(order(settings, one))
    assert "result" in outcome, outcome
    value: dict[str, Any] = json.loads(json.dumps(outcome["result"]))
    return value


def put(folder: Path, *records: dict[str, Any]) -> Path:
    """Results in a folder, under the names that their specs have."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        name = Spec.model_validate(record["spec"]).name
        (folder / f"{name}.json").write_text(json.dumps(record), "utf-8")
    return folder
