"""A study's log: one JSON line an event, appended whole; what it says is what a study has.

Knows no training; a torn last line is not an event, and an event whose files are gone does not count.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaptx.study.plan import Plan
from adaptx.study.work import Outcome, Unit

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


def news(outcome: Outcome, last: Mapping[str, Any] | None) -> bool:
    """Whether an outcome tells more than the unit's last event: not where a run or a score was only found again."""
    if last is None or outcome.failed or last["event"] == "failed":
        return True
    return any(last.get(name) != outcome.values.get(name) for name in ("run", "file"))


def remembered(plan: Plan, store: Path) -> dict[Unit, Outcome]:
    """The outcomes of a plan's steps and cells as the journal has them, where the store still has what they name."""
    last = latest(plan.folder(store))
    units: tuple[Unit, ...] = (*plan.steps, *plan.cells)
    out: dict[Unit, Outcome] = {}
    for unit in units:
        event = last.get(unit.label)
        if event is not None and (event["event"] == "failed" or _there(event, store)):
            out[unit] = Outcome(event["event"], {k: v for k, v in event.items() if k not in ("at", "event", "what")})
    return out


def _there(event: Mapping[str, Any], store: Path) -> bool:
    place = event.get("folder") or event.get("file")
    return bool(place) and (store / str(place)).exists()
