"""What a hub's transport must do. Knows no address, no adapter and no entry's content.

Three transports: `folder` (a disk or network share), `s3` (through fsspec) and `hf` (the Hugging Face Hub).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Item:
    """A file to be written: its path on the hub, and its bytes or the local file that holds them."""

    path: str
    source: bytes | Path
    sha256: str

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


class Backend(Protocol):
    """One hub. Paths are relative and use `/`. Every method raises AX080 or AX060 where the hub cannot be reached."""

    @property
    def url(self) -> str:
        """The address that names this hub."""

    @property
    def revision(self) -> str:
        """The commit (40 hex digits) that everything is read from; empty where the hub has no history."""

    @property
    def front_page(self) -> bool:
        """Whether a README.md at the top, written anew with every push, is what people see first."""

    def paths(self, prefix: str) -> list[str]:
        """Every file below `prefix`, sorted; empty where there is none."""

    def read(self, path: str, limit: int) -> bytes:
        """The content of a small file. Raises AX081 where it is missing, AX021 where it is larger than `limit`."""

    def fetch(self, path: str, to: Path, size: int) -> None:
        """Write the file's first `size` + 1 bytes to `to`. Raises AX081 where it is missing."""

    def holds(self, items: Sequence[Item]) -> bool:
        """Whether all of `items` are there and, as far as the hub can tell cheaply, whole."""

    def put(self, items: Sequence[Item], message: str) -> str:
        """Write `items` so that a reader who sees the last one sees them all; the commit, empty without history."""

    def delete(self, paths: Sequence[str], message: str) -> None:
        """Remove files; missing ones are no fault."""

    def blob(self, place: str, path: str, sha256: str) -> str:
        """Where the file `path` of the version at `place` lies."""

    def sweep(self, keep: set[str], older_than_seconds: float) -> int:
        """Remove stored content that no path in `keep` names and that nobody wrote lately; how many files went."""


def content_address(path: str, sha256: str) -> str:
    """Where content lies on hubs without history: by its hash, with the file's ending."""
    return f"blobs/sha256/{sha256[:2]}/{sha256}.{path.rsplit('.', 1)[-1]}"
