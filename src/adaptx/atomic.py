"""Writes that are either complete or absent (temporary sibling, fsync, rename), and the hash that a file is known by.

Knows nothing of what is written.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hash of a file's content, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`; a reader sees the old or the new content, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _fsync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by the JSON of `value`, indented, keys in the order given."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A fresh sibling folder that becomes `target` when the block ends well and vanishes when it does not.

    An existing `target` is moved aside first and removed after the rename.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
    try:
        os.chmod(stage, 0o755)
        yield stage
        for path in sorted(stage.rglob("*")):
            if path.is_file():
                os.chmod(path, 0o644)  # libraries write weights that only their owner may read
                _fsync(path)
        old = stage.with_name(stage.name + ".old")
        if target.exists():
            os.rename(target, old)
        os.rename(stage, target)
        _fsync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Holds an exclusive lock on `path` while the block runs; yields False where another process has it.

    The kernel drops the lock with the process, so a killed run leaves nothing behind.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
