"""Result files: one JSON a measurement, written once, with everything that says with what and on what it was made.

A folder of results is named after a day and a machine. Knows no way to measure and no report.
"""

import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import adaptx
from adaptx import atomic, provenance
from adaptx.bench.spec import Spec
from adaptx.config import Settings
from adaptx.errors import AdaptxError

SCHEMA = 1
# What a result must say about its origin before anything is made of it.
REQUIRED = ("adaptx", "code", "created", "versions", "hardware", "device", "threads", "load", "backbone", "data")


def origin(settings: Settings, device: str) -> dict[str, Any]:
    """With what and on what: versions, code, hardware, threads, load. Needs torch."""
    import torch

    return {
        "adaptx": adaptx.__version__,
        "code": provenance.code_digest(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(device),
        "device": device,
        "threads": torch.get_num_threads(),
        "load": list(os.getloadavg()),
        "torch": {
            "build": torch.__version__,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        },
        "profile": settings.profile.id,
    }


def record(spec: Spec, settings: Settings, seconds: dict[str, float], result: dict[str, Any]) -> dict[str, Any]:
    """A measurement's whole record; `result` brings its "origin" of backbone and data."""
    from adaptx import backbones

    device = backbones.pick_device(settings.device)
    made_from = result.pop("origin")
    return {
        "schema_version": SCHEMA,
        "what": spec.what,
        "method": spec.method,
        "label": spec.label,
        "repetition": spec.repetition,
        "spec": spec.model_dump(mode="json"),
        **result,
        "seconds": seconds,
        "provenance": {**origin(settings, device), **made_from},
    }


def hardware_name(hardware: dict[str, Any]) -> str:
    """A machine as part of a folder's name: its GPU, or its processor with the number of cores."""
    text = hardware["gpu"] if "gpu" in hardware else f"{hardware['cpu']}-{hardware['cores']}c"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def folder_name(device: str) -> str:
    """<date>-<hardware> of today and of this machine."""
    return f"{datetime.now(UTC).date().isoformat()}-{hardware_name(provenance.hardware(device))}"


def path_of(folder: Path, spec: Spec) -> Path:
    """Where a spec's result lies."""
    return folder / f"{spec.name}.json"


def write(folder: Path, spec: Spec, value: dict[str, Any]) -> Path:
    """Keep a result. An existing file is never replaced: raises AX072."""
    path = path_of(folder, spec)
    staged = path.with_suffix(".partial")
    atomic.write_json(staged, value)
    try:
        os.link(staged, path)  # unlike a rename, a link never replaces
    except FileExistsError:
        raise AdaptxError("AX072", path.name, "a result of this measurement is there already.") from None
    finally:
        staged.unlink(missing_ok=True)
    return path


def read(path: Path) -> dict[str, Any]:
    """A result. Raises AX093 where it is not one, or does not say where it comes from."""
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise AdaptxError("AX093", path.name, f"it cannot be read ({error}).") from None
    made = value.get("provenance") if isinstance(value, dict) else None
    if not isinstance(made, dict):
        raise AdaptxError("AX093", path.name, "it has no provenance.")
    missing = [key for key in REQUIRED if made.get(key) in (None, "", {}, [])]
    if missing:
        raise AdaptxError("AX093", path.name, f"its provenance lacks {', '.join(missing)}.")
    if value.get("schema_version") != SCHEMA or not isinstance(value.get("spec"), dict):
        raise AdaptxError("AX093", path.name, f"it is not a result of schema version {SCHEMA}.")
    return value


def read_all(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """All results below the folders, by file name. Raises AX011 without any, AX093."""
    paths = sorted({p for f in folders for p in f.glob("*.json")})
    if not paths:
        raise AdaptxError("AX011", ", ".join(map(str, folders)), "there are no results.", "Run `adaptx bench cost`.")
    return [read(p) for p in paths]
