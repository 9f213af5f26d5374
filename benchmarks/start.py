"""How long does `adaptx train-adapter` take until its first batch? `ADAPTX_DATA=... python benchmarks/start.py`.

A process each, from its birth to the first batch; of masked language modelling to the first of the dev data, which is
scored before. "First" has tokenised nothing before, "again" finds the features that it kept; "libraries as they are"
leaves out what `adaptx.libraries` does to their import. "Imports" is the part until torch, transformers and adapters
are there. Turns of the two ways alternate. Writes results/start.{json,md}.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stamp import keep, machine, stamp

RUNS = ("sv/anli", "en/squad_v1", "fi/mlm")
CHILD = """
import json, os, sys, time
from adaptx import libraries
if sys.argv[2] != "ours":
    libraries.ours = lambda: None
libraries.ours()
from adaptx.backbones import _model_types
_model_types()
import adaptx.methods.bottleneck
born, imported = float(sys.argv[1]), time.monotonic()
import adaptx.engine.loop
def first_batch(*args):
    print(json.dumps({"imports": imported - born, "first batch": time.monotonic() - born}), flush=True)
    os._exit(0)
adaptx.engine.loop.part = adaptx.engine.model.batches = first_batch
from adaptx.cli import main
sys.argv[1:] = sys.argv[3:]
main()
"""
WAYS = {"again": "ours", "again, libraries as they are": "others"}


def seconds(run: str, way: str, cache: Path) -> dict[str, float]:
    """Until the imports are done, and until the first batch."""
    lang, task = run.split("/")
    with tempfile.TemporaryDirectory() as store:
        child = [sys.executable, "-c", CHILD, str(time.monotonic()), way]
        places = {"ADAPTX_STORE": store, "ADAPTX_CACHE": str(cache)}
        command = [*child, "train-adapter", "--lang", lang, "--task", task]
        env = {**os.environ, **places}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    """Start, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as cache:
        seconds("en/udpos", "ours", Path(cache))  # the backbone is converted once
        for run in RUNS:
            turns = found[run] = {"first": [seconds(run, "ours", Path(cache))], **{name: [] for name in WAYS}}
            for _ in range(repeats):
                for name, way in WAYS.items():
                    turns[name].append(seconds(run, way, Path(cache)))
            said = (f"{k}: {statistics.median(t['first batch'] for t in v):.1f}" for k, v in turns.items())
            print(run, *said, flush=True)
    value = {**stamp(), "repeats": repeats, "runs": found}
    text = [
        "# Until the first batch",
        "",
        f"Bundled backbone, shipped defaults, a process each, medians of {repeats} (first: one). "
        f"{machine(value)}; see `start.py`.",
        "",
        "| run | start | seconds, of them imports | all |",
        "|---|---|---:|---|",
    ]
    for run, turns in found.items():
        for name, times in turns.items():
            whole, imports = (statistics.median(t[k] for t in times) for k in ("first batch", "imports"))
            every = ", ".join(f"{t['first batch']:.1f}" for t in times)
            text.append(f"| {run} | {name} | {whole:.1f}, {imports:.1f} | {every} |")
    keep("start", value, "\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
