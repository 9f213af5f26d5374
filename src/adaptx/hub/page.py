"""A static catalogue of a hub: one HTML file that needs no server and no other file. Reads entries only."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaptx import atomic
from adaptx.hub import catalogue
from adaptx.hub.address import pinned
from adaptx.hub.entry import Entry, as_row

TEMPLATE = Path(__file__).with_name("catalogue.html")
PLACE = "/*CATALOGUE*/null"


def site(hub: str, out: Path, cache: Path, languages: dict[str, str], revision: str | None = None) -> tuple[Path, int]:
    """Write the catalogue of `hub` to `out` (an .html file, or a folder for index.html); its path and its versions."""
    backend, version = pinned(hub, cache, revision)
    entries = catalogue.read_all(backend, version=version).entries
    target = out if out.suffix in (".html", ".htm") else out / "index.html"
    shown = backend.url if not backend.url.startswith("file:") else ""  # a path of this machine tells readers nothing
    atomic.write_bytes(target, page(entries, shown, languages).encode())
    return target, len(entries)


def page(entries: tuple[Entry, ...], hub: str, languages: dict[str, str]) -> str:
    """The HTML with the entries' rows, newest first, embedded as data."""
    rows = [as_row(e) for e in reversed(entries)]
    codes = {r["lang"] for r in rows} | {z["lang"] for r in rows for z in r["zero_shot"]}
    value = {
        "hub": hub,
        "made": datetime.now(UTC).isoformat(timespec="minutes"),
        "languages": {c: languages.get(c, c) for c in sorted(codes)},
        "rows": rows,
    }
    return TEMPLATE.read_text("utf-8").replace(PLACE, embedded(value))


def embedded(value: Any) -> str:
    """JSON that may stand inside a script element: no `<`, no line separators, no numbers that JSON does not know."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
