"""Where and on what a committed result was made."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaptx import atomic, provenance

RESULTS = Path(__file__).parent / "results"


def stamp() -> dict[str, Any]:
    """Time, load average of the last minute, hardware and versions."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": os.getloadavg()[0],
        "hardware": provenance.hardware("cpu"),
        "versions": provenance.versions(),
    }


def machine(stamped: dict[str, Any]) -> str:
    """The processor, its cores and torch's version of a stamp, in words."""
    hardware = stamped["hardware"]
    return f"{hardware['cpu']}, {hardware['cores']} cores, torch {stamped['versions']['torch']}"


def keep(name: str, value: dict[str, Any], text: str) -> None:
    """Write a result as results/NAME.json and its page as results/NAME.md."""
    atomic.write_json(RESULTS / f"{name}.json", value)
    atomic.write_bytes(RESULTS / f"{name}.md", text.encode())
