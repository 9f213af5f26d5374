"""Reads a safetensors file's header as hostile bytes, and looks for weights that are not finite.

Runs before any library sees the file. Imports only the stdlib and numpy; knows no adapter and no manifest.
Format (safetensors 0.8): u64 little-endian header length N, N bytes of JSON {name: {dtype, shape, data_offsets}}, then
the data, without holes.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from adaptx.errors import AdaptxError
from adaptx.hub.names import refuse

MAX_HEADER = 100_000_000
MAX_TENSORS, MAX_NAME, MAX_RANK = 100_000, 300, 8
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
# dtype -> (unsigned type of that width, exponent bits): all of them set means infinite or not a number
EXPONENTS = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
CHUNK = 1 << 22


@dataclass(frozen=True)
class Span:
    """One tensor of a file: bytes `begin` to `end`, counted from the start of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def loads(data: bytes, where: str) -> Any:
    """JSON without duplicate keys or bottomless nesting. Raises AX021."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(items)
        if len(out) != len(items):
            raise ValueError("a key occurs twice")
        return out

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise refuse(where, f"not the JSON it should be ({str(error)[:80] or type(error).__name__}).") from None


def header(path: Path, shown: str) -> tuple[int, list[Span]]:
    """Where the data begins, and the tensors in the order of their bytes. Raises AX021 for anything out of place."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > MAX_HEADER or length > size - 8:
            raise refuse(shown, f"not a safetensors file: {size:,} bytes that claim a header of {length:,}.")
        raw = file.read(length)
    if not raw.startswith(b"{"):
        raise refuse(shown, "not a safetensors file: the header is not a JSON object.")
    table = loads(raw, shown)
    spans = sorted(_spans(table, shown), key=lambda s: (s.begin, s.end))
    at = 0
    for span in spans:
        if span.begin != at:
            raise refuse(f"{shown} {span.name}", "its bytes overlap another tensor's, or leave a hole.")
        at = span.end
    if 8 + length + at != size:
        raise refuse(shown, f"its tensors end at byte {8 + length + at:,}, the file at {size:,}.")
    return 8 + length, spans


def _spans(table: dict[str, Any], shown: str) -> Iterator[Span]:
    if len(table) > MAX_TENSORS:
        raise refuse(shown, f"{len(table):,} tensors.")
    for name, entry in table.items():
        where = f"{shown} {name}"
        if name == "__metadata__":
            if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
                raise refuse(where, "metadata is a mapping of strings.")
            continue
        if not name or len(name) > MAX_NAME or not name.isascii() or not name.isprintable():
            raise refuse(where, "not a tensor name.")
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise refuse(where, "expected dtype, shape and data_offsets.")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in SIZES:
            raise refuse(where, f"data type {dtype!r} is not among {', '.join(SIZES)}.")
        if not _counts(shape) or len(shape) > MAX_RANK or not _counts(offsets) or len(offsets) != 2:
            raise refuse(where, "shape and data_offsets are lists of whole numbers.")
        begin, end = offsets
        if end - begin != math.prod(shape) * SIZES[dtype]:
            raise refuse(where, f"{end - begin:,} bytes for {dtype} {shape}.")
        yield Span(name, dtype, tuple(shape), begin, end)


def _counts(value: object) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**63 for v in value)


def check_finite(path: Path, shown: str) -> None:
    """Raise AX020 where a floating-point tensor holds an infinity or not-a-number; memory stays at a few MiB."""
    begin, spans = header(path, shown)
    with open(path, "rb") as file:
        for span in spans:
            if span.dtype in EXPONENTS and not _finite(file, begin + span.begin, span):
                raise AdaptxError("AX020", f"{shown} {span.name}", "it holds weights that are infinite or not numbers.")


def _finite(file: IO[bytes], at: int, span: Span) -> bool:
    import numpy as np

    kind, mask = EXPONENTS[span.dtype]
    file.seek(at)
    left = span.end - span.begin
    while left:
        part = file.read(min(left, CHUNK))
        if not part:
            return False
        left -= len(part)
        bits = np.frombuffer(part, kind)
        if ((bits & bits.dtype.type(mask)) == mask).any():
            return False
    return True
