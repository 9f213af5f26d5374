"""`python -m adaptx.bench.worker`: one measurement in this process. An order as JSON on stdin, its outcome in a file.

The file holds {"result": ...} or {"error": {code, given, why, fix}}. Nothing is printed but what libraries print.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from adaptx import atomic, libraries
from adaptx.errors import AdaptxError
from adaptx.resident import resident


def main() -> int:
    """Carry out the order on stdin; 0 where it gave a result."""
    libraries.ours()
    order = json.load(sys.stdin)
    outcome = perform(order)
    atomic.write_json(Path(order["out"]), outcome)
    return 0 if "result" in outcome else 1


def perform(order: dict[str, Any]) -> dict[str, Any]:
    """The outcome of an order {"spec", "places", "spawned"}; the last is the monotonic time of the process's birth."""
    from adaptx import backbones
    from adaptx.bench import results
    from adaptx.bench.places import Places
    from adaptx.bench.spec import Spec

    backbones.quiet()
    spec = Spec.model_validate(order["spec"])
    try:
        settings = Places(**order["places"]).settings(spec)
        measure = import_module(f"adaptx.bench.{spec.what}").measure
        began = time.monotonic()
        result = measure(settings, spec)
    except AdaptxError as error:
        return {"error": {"code": error.code, "given": error.given, "why": error.why, "fix": error.fix}}
    seconds = {"start": began - order["spawned"], **result.pop("seconds")}
    value = results.record(spec, settings, seconds, result)
    loading = value.get("memory", {}).get("load_peak_rss_bytes", 0)  # from before the peak was reset
    return {"result": {**value, "own_peak_rss_bytes": max(resident()[1], loading)}}


if __name__ == "__main__":
    sys.exit(main())
