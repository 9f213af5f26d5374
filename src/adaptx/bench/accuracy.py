"""One run to the end, through the store, and its zero-shot score: what a method's cost buys.

The run is an ordinary one: its recipe is found again in the store, by this measurement and by every other command.
"""

from typing import Any

from adaptx import jobs, scoring, training
from adaptx.bench.session import origin
from adaptx.bench.spec import Spec
from adaptx.bench.workload import options_of
from adaptx.config import Settings
from adaptx.stack import Stack


def measure(settings: Settings, spec: Spec) -> dict[str, Any]:
    """The record of an "accuracy" measurement: the target language's scores, the run's own cost, where it was made."""
    clock = training.Clock()
    with clock("read"):
        job = jobs.prepare(settings, spec.lang, spec.task, options_of(spec))
    found = job.done is not None
    with clock("run"):
        stored = training.run(job)
    task = settings.registry.task(spec.task)
    with clock("score"):
        cell = scoring.cell(settings, Stack((stored,)), task, spec.target_lang or spec.lang, spec.precision)
    manifest = stored.manifest
    return {
        "accuracy": {
            "ref": stored.ref,
            "lang": cell.lang,
            "n": cell.n,
            "leading": cell.leading,
            "metrics": cell.metrics,
            "intervals": {k: list(v) for k, v in cell.intervals.items()},
            "own": manifest.metrics,
            "note": cell.note,
            "found": found,
        },
        "parameters": {
            "trainable": manifest.cost["trainable_parameters"],
            "head": manifest.cost["head_parameters"],
            "total": manifest.cost["total_parameters"],
        },
        "disk": {
            "adapter_bytes": sum(f.bytes for f in manifest.files if f.path.startswith("adapter/")),
            "head_bytes": sum(f.bytes for f in manifest.files if f.path.startswith("head")),
        },
        "train_seconds": manifest.cost["seconds"]["train"],
        "tokens": manifest.cost["tokens"],
        "tokens_per_s": manifest.cost["tokens_per_s"],
        "memory": {"peak_bytes": manifest.cost["peak_memory_bytes"]},
        "trained_on": {
            "hardware": manifest.hardware,
            "versions": manifest.versions,
            "created": manifest.created,
            "seconds": manifest.cost["seconds"],
        },
        "seconds": dict(clock.seconds),
        "origin": origin(job),
    }
