"""A study's log: one JSON line an event, appended whole. Knows no training; a torn last line is not an event."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "journal.jsonl"


def append(folder: Path, event: str, what: str, /, **values: Any) -> None:
    """Add one event in a single write, on disk when this returns; ends a line that a kill left torn."""
    folder.mkdir(parents=True, exist_ok=True)
    value = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, "what": what, **values}
    line = (json.dumps(value, ensure_ascii=False) + "\n").encode()
    with open(folder / FILE, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def events(folder: Path) -> list[dict[str, Any]]:
    """All complete events, oldest first."""
    path = folder / FILE
    out: list[dict[str, Any]] = []
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and {"event", "what"} <= value.keys():
            out.append(value)
    return out


def latest(folder: Path) -> dict[str, dict[str, Any]]:
    """The last event of every step and cell by its label."""
    return {e["what"]: e for e in events(folder)}
