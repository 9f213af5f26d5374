"""What do products in 8 bits cost in learning? The same runs in fp32, bf16 and int8, step by step.

    ADAPTX_DATA=... python benchmarks/eightbit.py

For each task, method and seed the three precisions see the same batches from the same initial weights. fp32 is the
reference; how far bf16 departs from it says what difference is no loss. Dev scores are of the last weights, each in its
own precision and, for int8, in bf16 as well: an adapter trained in 8 bits is run in any precision. Writes
results/eightbit.{json,md} and eightbit.svg, the loss curves of the first seed.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from stamp import stamp

from adaptx import atomic
from adaptx import learner as learners
from adaptx.bench.curves import Series, chart
from adaptx.bench.session import loop_options
from adaptx.config import RunOptions, resolve
from adaptx.engine import loop
from adaptx.jobs import prepare
from adaptx.study import charts

RESULTS = Path(__file__).parent / "results"
RUNS = (("udpos", "pfeiffer"), ("anli", "lora"))
PRECISIONS = ("fp32", "bf16", "int8")
TENTHS = 10


def trained(task: str, method: str, precision: str, seed: int, steps: int) -> dict[str, Any]:
    """Losses of every step, tokens/s, and dev scores of one run."""
    options = RunOptions(method=method, precision=precision, seed=seed, max_steps=steps, epochs=3)
    job = prepare(resolve(profile="local"), "en", task, options)
    learner = learners.build(job)
    hooks = loop.Hooks(learner.plan, learner.loss, None, lambda *_: None, learner.items)
    progress = loop.train(learner.model, hooks, loop_options(job))
    metric = job.tasks[0].metrics[0]
    out = {
        "task": task,
        "method": method,
        "precision": precision,
        "seed": seed,
        "losses": progress.losses,
        "tokens_per_s": progress.tokens / progress.train_seconds,
        "metric": metric,
        "dev": learner.dev_score(),
    }
    if precision == "int8":
        state = {n: p.detach() for n, p in loop.parameters(learner.model).items()}
        half = RunOptions(method=method, precision="bf16")
        again = learners.build(prepare(job.settings, "en", task, half))
        for name, parameter in loop.parameters(again.model).items():
            parameter.data.copy_(state[name])
        out["dev_in_bf16"] = again.dev_score()
    print(f"  {task} {method} {precision} seed {seed}: {100 * out['dev']:.1f}", flush=True)
    return out


def tenths(losses: list[float]) -> list[float]:
    """Mean loss of every tenth of a run."""
    size = len(losses) / TENTHS
    return [statistics.fmean(losses[round(i * size) : round((i + 1) * size)]) for i in range(TENTHS)]


def rows(runs: list[dict[str, Any]]) -> list[str]:
    """A line for every task, method and precision, over seeds."""
    out = [
        "| task | method | precision | last tenth's loss | farthest tenth from fp32 | dev score | in bf16 | tokens/s |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for task, method in RUNS:
        for precision in PRECISIONS:
            mine = [r for r in runs if (r["task"], r["method"], r["precision"]) == (task, method, precision)]
            reference = [r for r in runs if (r["task"], r["method"], r["precision"]) == (task, method, "fp32")]
            pairs = [(tenths(r["losses"]), tenths(f["losses"])) for r, f in zip(mine, reference, strict=True)]
            far = [max(abs(a / b - 1) for a, b in zip(*pair, strict=True)) for pair in pairs]
            last = statistics.fmean(tenths(r["losses"])[-1] for r in mine)
            dev = " / ".join(f"{100 * r['dev']:.1f}" for r in mine)
            half = " / ".join(f"{100 * r['dev_in_bf16']:.1f}" for r in mine if "dev_in_bf16" in r)
            rate = statistics.median(r["tokens_per_s"] for r in mine)
            departure = "" if precision == "fp32" else f"{100 * max(far):.2f} %"
            out.append(f"| {task} | {method} | {precision} | {last:.4f} | {departure} | {dev} | {half} | {rate:,.0f} |")
    return out


def curves(runs: list[dict[str, Any]]) -> str:
    """Loss by step of the first seed, each precision a line."""
    lines = []
    for r in runs:
        if r["seed"] == runs[0]["seed"] and (r["task"], r["method"]) == RUNS[0]:
            size = len(r["losses"]) / TENTHS
            points = tuple(((i + 0.5) * size, loss) for i, loss in enumerate(tenths(r["losses"])))
            lines.append(Series("step", "steps", "loss", r["precision"], "", points, None))
    return chart(f"Training loss, en/{RUNS[0][0]}, {RUNS[0][1]}", lines, "optimiser steps", "loss, mean of a tenth")


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", default="0,1,2")
    asked = parser.parse_args()
    runs = [
        trained(task, method, precision, seed, asked.steps)
        for task, method in RUNS
        for seed in map(int, asked.seeds.split(","))
        for precision in PRECISIONS
    ]
    value = {**stamp(), "steps": asked.steps, "runs": runs}
    used = ", ".join(f"{p} {value['versions'][p]}" for p in ("torch", "adapters", "peft"))
    text = [
        "# Learning in 8 bits",
        "",
        f"Bundled backbone, English, {asked.steps} steps; dev scores of seeds {asked.seeds}. "
        f"{value['hardware']['cpu']}, {value['hardware']['cores']} cores; {used}.",
        "",
        *rows(runs),
        "",
        "![loss curves](eightbit.svg)",
    ]
    atomic.write_json(RESULTS / "eightbit.json", value)
    atomic.write_bytes(RESULTS / "eightbit.md", ("\n".join(text) + "\n").encode())
    atomic.write_bytes(RESULTS / "eightbit.svg", charts.alone(curves(runs)).encode())
    print("\n".join(text))


if __name__ == "__main__":
    main()
