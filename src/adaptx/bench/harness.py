"""Runs measurements one after another, each in a process of its own, and keeps what they give. Measures nothing itself,
but what the kernel says of a process: its peak memory and its time, read from outside.

Methods are interleaved: all of them once, then all of them again, so that a machine that warms up or slows down treats
them alike. A measurement whose result is in the folder is not repeated.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adaptx.bench import results
from adaptx.bench.places import Places
from adaptx.bench.spec import Spec
from adaptx.errors import AdaptxError
from adaptx.resident import resident
from adaptx.study import journal

CANNOT = ("AX033", "AX051")  # a package or a combination that does not exist here: nothing went wrong
Tell = Callable[[str, dict[str, Any]], None]


def repeated(specs: Sequence[Spec], repeats: int) -> list[Spec]:
    """Every spec `repeats` times, interleaved: A B C A B C."""
    return [s.model_copy(update={"repetition": r}) for r in range(repeats) for s in specs]


class Outcome:
    """What a call of `run` did: records in the plan's order, failures and impossible ones by name, what is left."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.failed: dict[str, str] = {}
        self.impossible: dict[str, str] = {}
        self.left: list[Spec] = []


def run(
    plan: Sequence[Spec],
    places: Places,
    folder: Path,
    tell: Tell,
    deadline: float | None = None,
    limit: float = 1800,
    share: float = 0.0,
) -> Outcome:
    """Measure what `folder` does not have; start nothing after `deadline` (monotonic); `limit` seconds a process.

    A failure is noted in the folder's journal and does not stop the others. What got less than a `share` of the
    processor that it asked for is noted there, not kept, and left for another time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outcome = Outcome()
    for number, spec in enumerate(plan, 1):
        path = results.path_of(folder, spec)
        if path.is_file():
            outcome.records.append(results.read(path))
            tell("found", {"spec": spec})
            continue
        if deadline is not None and time.monotonic() > deadline:
            outcome.left.append(spec)
            continue
        tell("start", {"spec": spec, "number": number, "of": len(plan)})
        try:
            value = measure(spec, places, limit)
        except AdaptxError as error:
            kind = "impossible" if error.code in CANNOT else "failed"
            getattr(outcome, kind)[spec.name] = str(error)
            journal.append(folder, kind, spec.name, code=error.code, message=str(error), label=spec.label)
            tell(kind, {"spec": spec, "message": str(error)})
            continue
        had = value.get("cpu_share")
        if had is not None and had < share:
            journal.append(folder, "disturbed", spec.name, cpu_share=had, label=spec.label)
            outcome.left.append(spec)
            tell("disturbed", {"spec": spec, "message": f"it had {had:.0%} of the processor."})
            continue
        results.write(folder, spec, value)
        outcome.records.append(value)
        tell("done", {"spec": spec, "record": value})
    return outcome


def measure(spec: Spec, places: Places, limit: float) -> dict[str, Any]:
    """One measurement in a fresh process; what the kernel says of it is added as "outside".

    Raises AX095 where the process gave no result, else the error that it reports.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "outcome.json"
        order = {"spec": spec.model_dump(mode="json"), "places": places.as_json(), "out": str(out)}
        outside, said = _process(order, limit)
        if not out.is_file():
            lines = [line for line in said.splitlines() if line.strip()]
            raise AdaptxError("AX095", spec.name, f"{outside['ended']}: {lines[-1] if lines else 'it said nothing'}.")
        outcome = json.loads(out.read_text("utf-8"))
    if "error" in outcome:
        raise _as_error(outcome["error"])
    return {**outcome["result"], "outside": outside}


def _as_error(value: dict[str, Any]) -> AdaptxError:
    return AdaptxError(value["code"], value["given"], value["why"], value["fix"])


def _process(order: dict[str, Any], limit: float) -> tuple[dict[str, Any], str]:
    """Run the worker to its end: its times by wait4(2), its peak memory by looking meanwhile, and what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ADAPTX_")}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "adaptx.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps({**order, "spawned": began}))
            child.stdin.close()
            status, usage, peak, ended = _wait(child, began + limit)
        except BaseException:
            child.kill()
            child.wait()
            raise
        seconds = time.monotonic() - began
        said.seek(0)
        outside = {
            "wall_seconds": seconds,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "max_rss_bytes": peak,
            "ended": ended or f"exit status {os.waitstatus_to_exitcode(status)}",
        }
        return outside, said.read()


def _wait(child: "subprocess.Popen[str]", until: float) -> tuple[int, Any, int, str]:
    """Wait for the child; kill it at `until`. Its status, usage, peak bytes, and why it ended where we ended it."""
    ended, peak = "", 0
    while True:
        with contextlib.suppress(OSError):
            peak = max(peak, resident(child.pid)[1])
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return status, usage, peak, ended
        if time.monotonic() > until and not ended:
            ended = "it took longer than allowed and was ended"
            child.kill()
        time.sleep(0.02)
