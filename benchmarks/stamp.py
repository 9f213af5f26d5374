"""Where and on what a committed result was made."""

import os
from datetime import UTC, datetime
from typing import Any

from adaptx import provenance


def stamp() -> dict[str, Any]:
    """Time, load average of the last minute, hardware and versions."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": os.getloadavg()[0],
        "hardware": provenance.hardware("cpu"),
        "versions": provenance.versions(),
    }
