"""What trimming the vocabulary saves, and what it changes: `ADAPTX_DATA=... python benchmarks/trim.py`.

Parts, each kept in results/trim.json as soon as it is done (`--part` runs one alone):

trim     the bundled backbone trimmed to Finnish, Swedish and English train and dev rows
full     full fine-tuning on Swedish NLI, untrimmed and trimmed in turn, a process each: speed, peak memory, bytes saved
mlm      a Finnish language adapter, likewise: its head has an output for every row
reading  how many test texts, which did not decide what stays, are read in smaller pieces
scores   one English adapter of the untrimmed backbone, scored on Finnish test sets on both
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stamp import stamp

from adaptx import atomic, backbones, scoring, trim
from adaptx.config import RunOptions, Settings, resolve
from adaptx.data import sources
from adaptx.jobs import prepare, strings
from adaptx.stack import Stack
from adaptx.training import peak_memory, run

RESULT = Path(__file__).parent / "results" / "trim.json"
LANGS = ["fi", "sv", "en"]
WORKLOADS = {"full": ("sv", "anli", "full"), "mlm": ("fi", "mlm", "pfeiffer")}
WARM_UP = 2  # steps before the clock starts
TESTS = [("fi", "udpos"), ("fi", "tydiqa"), ("fi", "tatoeba"), ("fi", "panx"), ("sv", "udpos"), ("en", "udpos")]
SCORED = ["udpos", "tatoeba"]


def keep(part: str, value: Any) -> None:
    """Put one part into the result file."""
    old = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    atomic.write_json(RESULT, {**old, part: {**stamp(), **value}})
    print(json.dumps({part: value}, indent=2, ensure_ascii=False))


def trimmed_folder(settings: Settings, work: Path) -> Path:
    """The trimmed backbone in the work folder, made once."""
    out = work / "trimmed"
    if not out.is_dir():
        began = time.monotonic()
        value = asdict(trim.trim(settings, LANGS, out))
        del value["folder"]
        keep("trim", {"languages": LANGS, **value, "seconds": round(time.monotonic() - began, 1)})
    return out


def measure(settings: Settings, workload: str, steps: int) -> dict[str, float]:
    """Tokens after the warm-up per second, and per second of processor time, which neighbours slow down less; peak
    bytes of this process; bytes of what is saved."""
    import torch

    from adaptx import learner as learners
    from adaptx import methods
    from adaptx.engine import loop

    lang, task, method = WORKLOADS[workload]
    job = prepare(settings, lang, task, RunOptions(method=method, max_steps=steps + WARM_UP, batch_tokens=2048))
    learner = learners.build(job)
    marks: list[tuple[float, float, int]] = []

    def report(now: loop.Progress, *_: object) -> None:
        marks.append((time.monotonic(), time.process_time(), now.tokens))

    o = job.recipe.optimiser
    options = loop.LoopOptions(epochs=o.epochs, batch_tokens=o.batch_tokens, lr=o.lr, seed=0, max_steps=o.max_steps)
    progress = loop.train(learner.model, loop.Hooks(learner.plan, learner.loss, None, report), options)
    seconds, processor_seconds, tokens = (b - a for a, b in zip(marks[WARM_UP - 1], marks[-1], strict=True))
    memory = peak_memory("cpu")
    with tempfile.TemporaryDirectory() as folder:
        methods.save(learner.model.encoder, job.method, learner.name, Path(folder) / "adapter", job.files.id)
        saved = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    rows = learner.model.encoder.embeddings.word_embeddings.weight.shape[0]
    return {
        "tokens_per_s": tokens / seconds,
        "tokens_per_processor_s": tokens / processor_seconds,
        "peak_memory_bytes": memory,
        "saved_bytes": saved,
        "embedding_rows": rows,
        "last_loss": progress.losses[-1],
        "threads": torch.get_num_threads(),
    }


def compare(workload: str, folders: dict[str, str], steps: int, repeats: int) -> dict[str, Any]:
    """Both backbones in turn, each time in a fresh process; medians, and every run."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in folders}
    for _ in range(repeats):
        for name, backbone in folders.items():
            command = [sys.executable, __file__, "--worker", workload, "--backbone", backbone, "--steps", str(steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    middle = {n: {k: statistics.median(r[k] for r in found) for k in found[0]} for n, found in runs.items()}
    ratio = {k: round(middle["trimmed"][k] / middle["full"][k], 3) for k in middle["full"] if k != "threads"}
    lang, task, method = WORKLOADS[workload]
    about = {"run": f"{lang}/{task}:{method}", "batch_tokens": 2048, "steps": steps, "warm_up": WARM_UP}
    return {**about, **middle, "trimmed_over_full": ratio, "runs": runs}


def reading(settings: Settings, small: Path) -> dict[str, Any]:
    """Test texts by both tokenizers."""
    full, cut = (backbones.load(backbones.locate(settings, name)).tokenizer for name in (None, str(small)))
    out = {}
    for lang, task in TESTS:
        rows = sources.load(settings, settings.registry.task(task), lang, "test").examples
        texts = [text for e in rows for text in strings(e)]
        pairs = [[e.tokens for e in t.encode_batch(texts, add_special_tokens=False)] for t in (full, cut)]
        out[f"{lang}/{task}"] = {
            "texts": len(texts),
            "read_differently": sum(a != b for a, b in zip(*pairs, strict=True)),
            "tokens": sum(map(len, pairs[0])),
            "tokens_trimmed": sum(map(len, pairs[1])),
        }
    return out


def scores(settings: Settings, small: Path, work: Path) -> dict[str, Any]:
    """An adapter trained on the untrimmed backbone, on both."""
    here = replace(settings, store=work / "store")
    adapter = run(prepare(here, "en", "udpos", RunOptions(limit=3000, epochs=1)))
    out: dict[str, Any] = {
        "adapter": f"{adapter.recipe.lang}/{adapter.recipe.task}:{adapter.recipe.method}",
        "rows": 3000,
    }
    for name, chosen in (("full", here), ("trimmed", replace(here, backbone=str(small)))):
        for task in SCORED:
            stack = Stack((adapter,) if task == "udpos" else ())
            cell = scoring.cell(chosen, stack, chosen.registry.task(task), "fi", adapter.recipe.precision)
            out.setdefault(f"fi/{task}", {})[name] = cell.metrics
    return out


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=[*WORKLOADS, "trim", "reading", "scores"], help="only this one")
    parser.add_argument("--work", type=Path, default=Path("trim-work"), help="folder for the backbone and a store")
    parser.add_argument("--steps", type=int, default=6, help="measured steps a process")
    parser.add_argument("--repeats", type=int, default=3, help="processes for each backbone")
    parser.add_argument("--worker", choices=WORKLOADS, help=argparse.SUPPRESS)
    parser.add_argument("--backbone", help=argparse.SUPPRESS)
    given = parser.parse_args()
    backbones.quiet()
    settings = resolve(profile="local", device="cpu", backbone=given.backbone)
    if given.worker:
        print(json.dumps(measure(settings, given.worker, given.steps)))
        return
    small = trimmed_folder(settings, given.work)
    folders = {"full": settings.backbone, "trimmed": str(small)}
    for workload in WORKLOADS:
        if given.part in (None, workload):
            keep(workload, compare(workload, folders, given.steps, given.repeats))
    if given.part in (None, "reading"):
        keep("reading", reading(settings, small))
    if given.part in (None, "scores"):
        keep("scores", scores(settings, small, given.work))


if __name__ == "__main__":
    main()
