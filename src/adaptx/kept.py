"""Features of large data sets on disk: tokenised once, mapped into memory from then on. Knows arrays, no tokenizer.

A folder holds one .npy file an array and the files' hashes; its name is the hash of everything that decides what the
features are.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from adaptx.engine.packing import Features, IntArray
from adaptx.recipe import canonical

FROM = 20_000  # examples; fewer are tokenised in about a second
ARRAYS = tuple(f.name for f in fields(Features) if f.name != "extra")
EXTRA, SUMS = "extra.", "sha256.json"


def features(cache: Path, key: dict[str, Any], make: Callable[[], Features]) -> Features:
    """What `make` gives; from `cache`, and read-only, where that has been made for `key` (JSON values) before."""
    folder = cache / "features" / hashlib.sha256(canonical(key).encode()).hexdigest()
    found = _read(folder)
    if found is None:
        made = make()
        with suppress(OSError):  # a full disk is no reason to stop: nothing is kept
            _write(folder, made)
        return made
    return found


def _read(folder: Path) -> Features | None:
    """The features in a folder; None where there are none, or a file is not what was written."""
    try:
        promised = json.loads((folder / SUMS).read_text("utf-8"))
        if any(_sum(folder / f"{name}.npy") != known for name, known in promised.items()):
            raise ValueError("a file has changed")
        arrays: dict[str, IntArray] = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in promised}
        own = {name: arrays.pop(name) for name in ARRAYS}
    except (OSError, ValueError, KeyError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return Features(**own, extra={name.removeprefix(EXTRA): array for name, array in arrays.items()})


def _write(folder: Path, made: Features) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        arrays = {name: getattr(made, name) for name in ARRAYS} | {EXTRA + k: v for k, v in made.extra.items()}
        for name, array in arrays.items():
            np.save(stage / f"{name}.npy", array)
        (stage / SUMS).write_text(json.dumps({name: _sum(stage / f"{name}.npy") for name in arrays}), "utf-8")
        with suppress(OSError):  # another process was first
            os.rename(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
