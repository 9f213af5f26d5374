"""Features of large data sets on disk: tokenised once, mapped into memory from then on. Knows arrays, no tokenizer.

A folder holds one .npy file an array; its name is the hash of everything that decides what the features are.
"""

import hashlib
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
EXTRA = "extra."


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
    """The features in a folder; None where there are none, or a file is not whole."""
    try:
        arrays: dict[str, IntArray] = {p.stem: np.load(p, mmap_mode="r") for p in sorted(folder.glob("*.npy"))}
        own = {name: arrays.pop(name) for name in ARRAYS}
    except (OSError, ValueError, EOFError, KeyError):
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
        with suppress(OSError):  # another process was first
            os.rename(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
