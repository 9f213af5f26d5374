"""A hub in an S3-compatible bucket, through fsspec and s3fs. Knows no adapter; credentials are the AWS libraries' own.

The address of another S3 service comes from AWS_ENDPOINT_URL, keys from the usual AWS environment and files. An object
appears whole or not at all, so writing in order is enough.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from adaptx.errors import AdaptxError
from adaptx.hub.backend import Item, content_address
from adaptx.hub.names import refuse

FRESH_SECONDS = 1800.0  # content written this lately is not written again; half of what a sweep spares


@dataclass(frozen=True)
class Bucket:
    """The hub below `root` (bucket, or bucket/prefix) on the file system `fs`."""

    fs: Any
    root: str
    revision: str = ""
    front_page: bool = False

    @classmethod
    def of(cls, bucket: str, prefix: str) -> "Bucket":
        """The hub at s3://bucket/prefix. Raises AX033 without s3fs, AX080 for a malformed address."""
        fsspec = import_module("fsspec")
        try:
            fs = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
        except ImportError:
            raise AdaptxError(
                "AX033", "s3fs", "s3:// hubs need it.", "Install it with: pip install 'adaptx[s3]'"
            ) from None
        prefix = prefix.strip("/")
        if not bucket or ".." in prefix or "\0" in prefix:
            raise AdaptxError("AX080", f"s3://{bucket}/{prefix}", "expected s3://BUCKET or s3://BUCKET/PREFIX.")
        return cls(fs, f"{bucket}/{prefix}".rstrip("/"))

    @property
    def url(self) -> str:
        return f"s3://{self.root}"

    def paths(self, prefix: str) -> list[str]:
        with self._reaching():
            found = self.fs.find(f"{self.root}/{prefix}")
            if not found and not self.fs.exists(self.root.split("/")[0]):
                raise AdaptxError("AX080", self.url, "there is no such bucket.")
        return sorted(p.removeprefix(self.root + "/") for p in found)

    def read(self, path: str, limit: int) -> bytes:
        with self._reaching(path):
            if self.fs.info(f"{self.root}/{path}")["size"] > limit:
                raise refuse(path, f"more than {limit:,} bytes.")
            data: bytes = self.fs.cat_file(f"{self.root}/{path}", start=0, end=limit)
        return data

    def fetch(self, path: str, to: Path, size: int) -> None:
        with self._reaching(path), self.fs.open(f"{self.root}/{path}", "rb") as source, open(to, "wb") as file:
            left = size + 1
            while left and (part := source.read(min(left, 1 << 22))):
                left -= len(part)
                file.write(part)

    def holds(self, items: Sequence[Item]) -> bool:
        with self._reaching():
            return all(self._holds(item, float("inf")) for item in items)

    def put(self, items: Sequence[Item], message: str) -> str:
        with self._reaching():
            for item in items:
                if not self._holds(item, FRESH_SECONDS):
                    self._write(item)
            for item in items:  # a sweep may have run since the first look
                if not self._holds(item, float("inf")):
                    self._write(item)
        return ""

    def delete(self, paths: Sequence[str], message: str) -> None:
        with self._reaching():
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(f"{self.root}/{path}")

    def blob(self, place: str, path: str, sha256: str) -> str:
        return content_address(path, sha256)

    def sweep(self, keep: set[str], older_than_seconds: float) -> int:
        with self._reaching():
            found = self.fs.find(f"{self.root}/blobs", detail=True)
            gone = [
                path
                for path, info in found.items()
                if path.removeprefix(self.root + "/") not in keep and _age(info) >= older_than_seconds
            ]
            for path in gone:
                self.fs.rm_file(path)
        return len(gone)

    def _holds(self, item: Item, seconds: float) -> bool:
        try:
            info = self.fs.info(f"{self.root}/{item.path}")
        except FileNotFoundError:
            return False
        if not item.path.startswith("blobs/"):
            return True
        return bool(info["size"] == item.size and _age(info) < seconds)

    def _write(self, item: Item) -> None:
        if isinstance(item.source, bytes):
            self.fs.pipe_file(f"{self.root}/{item.path}", item.source)
        else:
            self.fs.put_file(str(item.source), f"{self.root}/{item.path}")

    @contextlib.contextmanager
    def _reaching(self, path: str = "") -> Iterator[None]:
        errors = import_module("botocore.exceptions")
        try:
            yield
        except FileNotFoundError:
            if path:
                raise AdaptxError("AX081", path, "the hub has no such file.") from None
            raise AdaptxError("AX080", self.url, "there is no such bucket.") from None
        except (PermissionError, errors.NoCredentialsError):
            raise AdaptxError(
                "AX080", self.url, "access was denied.", "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the bucket."
            ) from None
        except errors.ConnectionError as error:
            raise AdaptxError(
                "AX060", self.url, f"no answer ({type(error).__name__}).", "Check the connection and AWS_ENDPOINT_URL."
            ) from None
        except (errors.BotoCoreError, errors.ClientError, OSError) as error:
            raise AdaptxError(
                "AX080", self.url, f"the service refused ({' '.join(str(error).split())[:200]})."
            ) from None


def _age(info: dict[str, Any]) -> float:
    """Seconds since an object was written."""
    return float((datetime.now(UTC) - info["LastModified"]).total_seconds())
