"""Opens text files: plain or gzipped, UTF-8 with or without a byte order mark, any mix of LF and CRLF.

This file knows no data format. It numbers lines from 1 and turns whatever cannot be read into one `AdaptxError`.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar, cast

from adaptx.errors import AdaptxError

Undecodable = Literal["error", "replace"]
T = TypeVar("T")


def malformed(path: Path, place: object, why: str, fix: str = "") -> AdaptxError:
    """The AX012 error for `place` in `path`: a line number, or the position in a JSON tree."""
    return AdaptxError("AX012", f"{path}:{place}", why, fix)


def row_id(path: Path, row: int) -> str:
    """The id of record `row` (from 0) of a file without ids of its own; the same whether gzipped or not."""
    return f"{base_name(path)}:{row}"


def base_name(path: Path) -> str:
    """The file name without its folder and without `.gz`."""
    return path.name.removesuffix(".gz")


def numbered_lines(path: Path, undecodable: Undecodable = "error") -> Iterator[tuple[int, str]]:
    """The lines of `path` with their numbers from 1, without line ends and byte order mark.

    Lines end at LF only: U+2028, form feeds and other separators are text. `undecodable="replace"` puts U+FFFD where
    bytes are not UTF-8. Raises AX011 (not there), AX012 (not UTF-8, naming the line; not a whole gzip file).
    """
    number = 0
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, 1):
                yield number, _decode(path, number, raw, undecodable)
    except (gzip.BadGzipFile, zlib.error, EOFError) as fault:
        raise malformed(path, number + 1, f"expected a complete gzip file; unpacking stopped: {fault}.") from fault


def records(lines: Iterable[tuple[int, T]], path: Path) -> Iterator[tuple[int, T]]:
    """`lines`, whole or cut into cells, without the empty ones at the end; an empty line between others is AX012.

    Skipping it instead would shift the rows of files that are parallel by row number.
    """
    empty: int | None = None
    for number, line in lines:
        if line in ("", [], [""]):
            empty = empty or number
            continue
        if empty is not None:
            raise malformed(path, empty, "expected a record, found an empty line.")
        yield number, line


def json_tree(path: Path) -> object:
    """The JSON value that the whole file holds; AX012 names the line where it stops being JSON."""
    return parsed(path, 1, "\n".join(line for _, line in numbered_lines(path)))


def parsed(path: Path, first: int, text: str) -> object:
    """The JSON value `text`, which starts at line `first` of `path`."""
    try:
        return cast(object, json.loads(text))
    except (ValueError, RecursionError) as fault:  # ValueError: also a number of thousands of digits
        line = first + fault.lineno - 1 if isinstance(fault, json.JSONDecodeError) else first
        raise malformed(path, line, f"expected JSON, found a fault: {fault}.") from fault


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        raise AdaptxError("AX011", path, "is a folder, not a file." if path.is_dir() else "does not exist.")
    try:
        return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
    except OSError as fault:
        raise AdaptxError("AX011", path, f"cannot be opened: {fault.strerror}.") from fault


def _decode(path: Path, number: int, raw: bytes, undecodable: Undecodable) -> str:
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8", "replace" if undecodable == "replace" else "strict")
    except UnicodeDecodeError as fault:
        found = raw[fault.start : fault.end].hex(" ")
        raise malformed(
            path, number, f"expected UTF-8, found the bytes {found} at position {fault.start} of the line."
        ) from fault
