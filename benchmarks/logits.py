"""What is saved by logits over a vocabulary that are never whole? `python benchmarks/logits.py`.

Loss and gradients of masked positions as in a training step of a language adapter, by the usual cross entropy over
whole logits and by `adaptx.tasks.logits`, in turns in one process; the peak memory of each in a process of its own,
above what the weights take. Shapes: XLM-R's vocabulary with the bundled backbone's width and with XLM-R Base's, and a
trimmed vocabulary. Writes results/logits.{json,md}.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from stamp import keep, machine, stamp
from torch.nn.functional import cross_entropy

from adaptx.bench.memory import reset_peak
from adaptx.resident import resident
from adaptx.tasks.logits import Logits

SHAPES = {"bundled": (384, 250_037), "XLM-R Base": (768, 250_002), "trimmed": (384, 60_000)}  # width, vocabulary
POSITIONS = 307  # 15 % of 2,048 tokens
WAYS: dict[str, Callable[[Logits, torch.Tensor], torch.Tensor]] = {
    "whole": lambda logits, targets: cross_entropy(logits.whole(), targets),
    "in blocks": lambda logits, targets: logits.mean_loss(targets),
}


def made(shape: str) -> tuple[Logits, torch.Tensor]:
    """bf16 output matrix, float32 states and bias that want gradients, and targets."""
    torch.manual_seed(0)
    width, vocabulary = SHAPES[shape]
    table = (torch.randn(vocabulary, width) / 20).bfloat16()
    states = torch.randn(POSITIONS, width).requires_grad_()
    bias = torch.zeros(vocabulary).requires_grad_()
    return Logits(states, table, bias), torch.randint(vocabulary, (POSITIONS,))


def step(way: str, logits: Logits, targets: torch.Tensor) -> float:
    """Seconds of forward and backward."""
    logits.states.grad = logits.bias.grad = None
    began = time.perf_counter()
    WAYS[way](logits, targets).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - began


def peak(shape: str, way: str) -> int:
    """Bytes above what the weights and inputs take, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak", shape, way], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--peak", nargs=2, metavar=("SHAPE", "WAY"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        shape, way = asked.peak
        logits, targets = made(shape)
        if not reset_peak():  # making the weights took more
            sys.exit("this kernel does not let the peak count from here on")
        before = resident()[0]
        step(way, logits, targets)
        print(resident()[1] - before)
        return
    value = {**stamp(), "positions": POSITIONS, "shapes": {}}
    text = [
        "# Logits over a vocabulary, whole and in blocks",
        "",
        f"{POSITIONS} masked positions, loss and gradients, medians of {asked.repeats} turns. "
        f"{machine(value)}; see `logits.py`.",
        "",
        "| width, vocabulary | whole, ms | in blocks, ms | times as fast | whole, MiB | in blocks, MiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for shape, (width, vocabulary) in SHAPES.items():
        logits, targets = made(shape)
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(asked.repeats + 1):
            for way in WAYS:
                seconds = step(way, logits, targets)
                if turn:  # the first warms up
                    times[way].append(seconds)
        bytes_ = {way: peak(shape, way) for way in WAYS}
        value["shapes"][shape] = {"width": width, "vocabulary": vocabulary, "seconds": times, "peak_bytes": bytes_}
        whole, blocks = (statistics.median(times[way]) for way in WAYS)
        cells = [f"{shape}: {width}, {vocabulary:,}", f"{1e3 * whole:.0f}", f"{1e3 * blocks:.0f}"]
        cells += [f"{whole / blocks:.2f}", *(f"{bytes_[way] / 2**20:,.0f}" for way in WAYS)]
        text.append(f"| {' | '.join(cells)} |")
    keep("logits", value, "\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
