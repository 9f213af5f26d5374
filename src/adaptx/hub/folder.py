"""A hub in a folder: a disk, a network share. Imports only the stdlib; knows no adapter.

Content goes to a temporary sibling, is fsynced and renamed, so a reader sees a whole file or none; a killed writer
leaves at most a hidden temporary file, which the next sweep removes.
"""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptx import atomic
from adaptx.errors import AdaptxError
from adaptx.hub.backend import Item, content_address
from adaptx.hub.names import refuse


@dataclass(frozen=True)
class Folder:
    """The hub in `root`, which is made by the first push."""

    root: Path
    revision: str = ""
    front_page: bool = False

    @property
    def url(self) -> str:
        return self.root.absolute().as_uri()

    def paths(self, prefix: str) -> list[str]:
        if not self.root.is_dir():
            raise AdaptxError("AX080", self.root, "there is no such folder.")
        out = []
        for here, _, files in os.walk(self.root / prefix):
            out += [(Path(here) / f).relative_to(self.root).as_posix() for f in files if not f.startswith(".")]
        return sorted(out)

    def read(self, path: str, limit: int) -> bytes:
        with open(self._opened(path), "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise refuse(path, f"more than {limit:,} bytes.")
        return data

    def fetch(self, path: str, to: Path, size: int) -> None:
        with open(self._opened(path), "rb") as source, open(to, "wb") as file:
            left = size + 1
            while left and (part := source.read(min(left, 1 << 20))):
                left -= len(part)
                file.write(part)

    def holds(self, items: Sequence[Item]) -> bool:
        return all(self._holds(item) for item in items)

    def put(self, items: Sequence[Item], message: str) -> str:
        try:
            for item in items:
                if not self._holds(item):
                    self._write(item)
            for item in items:  # a sweep may have run since the first look
                if not (self.root / item.path).exists():
                    self._write(item)
        except OSError as error:
            raise AdaptxError("AX080", self.root, f"it cannot be written ({error.strerror}).") from None
        return ""

    def delete(self, paths: Sequence[str], message: str) -> None:
        try:
            for path in paths:
                (self.root / path).unlink(missing_ok=True)
        except OSError as error:
            raise AdaptxError("AX080", self.root, f"nothing can be removed there ({error.strerror}).") from None

    def blob(self, place: str, path: str, sha256: str) -> str:
        return content_address(path, sha256)

    def sweep(self, keep: set[str], older_than_seconds: float) -> int:
        gone = 0
        for here, _, files in os.walk(self.root):
            for name in files:
                path = Path(here) / name
                shown = path.relative_to(self.root).as_posix()
                ours = shown.startswith("blobs/") or (name.startswith(".") and name.endswith(".part"))
                with contextlib.suppress(FileNotFoundError):
                    if ours and shown not in keep and time.time() - path.stat().st_mtime >= older_than_seconds:
                        path.unlink()
                        gone += 1
        return gone

    def _opened(self, path: str) -> int:
        """A descriptor of a regular file: links and devices on a shared folder are not followed."""
        try:
            handle = os.open(self.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise AdaptxError("AX081", path, "the hub has no such file.") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise refuse(path, "links and sockets on a hub are not followed.") from None
            raise AdaptxError("AX080", path, f"the hub's file cannot be read ({error.strerror}).") from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise refuse(path, "not a plain file.")
        return handle

    def _holds(self, item: Item) -> bool:
        """Whether the content is there and whole; touches it, so that no sweep takes it before its entry is written."""
        path = self.root / item.path
        try:
            if path.stat().st_size != item.size:
                return False
            same = atomic.sha256(path) == item.sha256
            os.utime(path)
            return same or not item.path.startswith("blobs/")
        except FileNotFoundError:
            return False

    def _write(self, item: Item) -> None:
        path = self.root / item.path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                if isinstance(item.source, bytes):
                    file.write(item.source)
                else:
                    with open(item.source, "rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
