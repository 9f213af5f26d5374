"""Features on disk: what took time to tokenise is mapped into memory from then on. Knows arrays, no tokenizer.

A folder holds one .npy file an array and the files' hashes; its name is the hash of everything that decides what the
features are.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from adaptx import atomic
from adaptx.engine.packing import Features, IntArray
from adaptx.recipe import digest_of

SECONDS = 0.5  # what takes less to make is made again
DAYS = 30  # features that nothing has read for so long go when others are written
ARRAYS = tuple(f.name for f in fields(Features) if f.name != "extra")
EXTRA, SUMS = "extra.", "sha256.json"


def features(cache: Path, key: dict[str, Any], make: Callable[[], Features]) -> Features:
    """What `make` gives; from `cache`, and read-only, where that has been made for `key` (JSON values) before and took
    half a second or more."""
    folder = cache / "features" / digest_of(key)
    found = _read(folder)
    if found is None:
        began = time.perf_counter()
        made = make()
        if time.perf_counter() - began >= SECONDS:
            _clear(folder.parent)
            with suppress(OSError):  # a full disk is no reason to stop: nothing is kept
                _write(folder, made)
        return made
    with suppress(OSError):  # another user's cache can be read all the same
        os.utime(folder)
    return found


def _clear(root: Path) -> None:
    """Remove what has not been read for `DAYS`. A process that has it mapped into memory keeps it until it ends."""
    for folder in root.glob("*"):
        with suppress(OSError):  # another process has removed it
            if time.time() - folder.stat().st_mtime > DAYS * 86_400:
                shutil.rmtree(folder)


def _read(folder: Path) -> Features | None:
    """The features in a folder; None where there are none, or a file is not what was written."""
    try:
        promised = json.loads((folder / SUMS).read_text("utf-8"))
        if any(atomic.sha256(folder / f"{name}.npy") != known for name, known in promised.items()):
            raise ValueError("a file has changed")
        arrays: dict[str, IntArray] = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in promised}
        own = {name: arrays.pop(name) for name in ARRAYS}
    except (OSError, ValueError, KeyError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return Features(**own, extra={name.removeprefix(EXTRA): array for name, array in arrays.items()})


def _write(folder: Path, made: Features) -> None:
    arrays = {name: getattr(made, name) for name in ARRAYS} | {EXTRA + k: v for k, v in made.extra.items()}
    with atomic.staged_folder(folder) as stage:
        for name, array in arrays.items():
            np.save(stage / f"{name}.npy", array)
        sums = {name: atomic.sha256(stage / f"{name}.npy") for name in arrays}
        (stage / SUMS).write_text(json.dumps(sums), "utf-8")
