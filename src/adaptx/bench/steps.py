"""The cost of optimiser steps: time, tokens, operations, memory, energy, and the phases around them. Keeps raw values.

The training loop runs as it does in training; its report after every step is the clock. Warm-up steps are kept apart.
What would disturb the times (counting operations, watching activations, the device's own speed) runs afterwards.
"""

import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from adaptx import methods
from adaptx.bench import energy, flops, gemm, memory, statistics, workload
from adaptx.bench.session import Session, loop_options, open_session, origin
from adaptx.bench.spec import Spec
from adaptx.bench.workload import Batch
from adaptx.config import Settings
from adaptx.engine import loop
from adaptx.engine.loop import Hooks, Progress, Work
from adaptx.engine.packing import pack


@dataclass
class Ticks:
    """Times and losses of the loop's steps, as its reports give them."""

    device: torch.device
    warm_up: int
    last: int
    counters: energy.Gpu | None
    meter: energy.Meter | None = None
    at: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # processor seconds of the process so far
    losses: list[float] = field(default_factory=list)
    used: int = 0
    between: int = 0  # allocated between two steps
    energy: dict[str, Any] | None = None

    def start(self) -> None:
        """Begin; with no warm-up the first measured step begins here too."""
        if self.counters is not None:
            self.meter = energy.Meter(self.counters.joules)
        self._settle()
        self._note()
        if not self.warm_up and self.meter:
            self.meter.start()

    def __call__(self, now: Progress, steps: int, rate: float) -> None:
        """The loop's report after a step."""
        border = now.step in (self.warm_up, self.last)
        if border:
            self._settle()  # so that no work of the warm-up falls into the window, and none of the last step out of it
        self._note()
        self.losses.append(now.losses[-1])
        if self.meter and now.step == self.warm_up:
            self.meter.start()
        if self.meter and now.step == self.last:
            self.energy = self.meter.stop()
        if self.device.type == "cuda":
            self.between = max(self.between, torch.cuda.memory_allocated(self.device))
        if self.counters is not None and border:
            self.used = max(self.used, self.counters.used_bytes())

    def _note(self) -> None:
        self.at.append(time.perf_counter())
        self.busy.append(time.process_time())

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @property
    def cpu_share(self) -> float:
        """Processor time over wall time and threads in the measured steps: well below 1, others used the processor."""
        at, busy = self.at[self.warm_up :], self.busy[self.warm_up :]
        return (busy[-1] - busy[0]) / (at[-1] - at[0]) / torch.get_num_threads()

    @property
    def seconds(self) -> list[float]:
        """Wall seconds of each step."""
        return [b - a for a, b in zip(self.at, self.at[1:], strict=False)]


def measure(settings: Settings, spec: Spec) -> dict[str, Any]:
    """The record of a "steps" measurement. Raises AX094, and what training raises."""
    session = open_session(settings, spec)
    model, clock = session.learner.model, session.clock
    planned = steps_of(session, spec.warm_up + spec.steps)
    loaded, load_peak = memory.resident()
    reset = memory.reset_peak()
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    counters, why = energy.gpu(str(model.device))
    ticks = Ticks(model.device, spec.warm_up, len(planned), counters)
    ticks.start()
    with clock("train"), memory.watching_optimisers() as held:
        loop.train(model, hooks(session, ticks), loop_options(session.job, epochs=epochs_for(session, len(planned))))
    train_peak = memory.resident()[1]
    cuda = _cuda(model.device, ticks)
    batches = [workload.batch_of(w) for w in planned]
    with clock("evaluate"):
        evaluated = _evaluate(session)
    with clock("save"):
        disk = _save(session)
    operations, activations = _operations(session, planned, batches)
    speed = gemm.best(model.device, spec.precision)
    measured = batches[spec.warm_up :]
    seconds = ticks.seconds[spec.warm_up :]
    needed = sum(_formula(session, b, b.lengths).total for b in measured) / sum(seconds)
    done = sum(_formula(session, b, executed(session, b)).total for b in measured) / sum(seconds)
    cpu = {
        "baseline_rss_bytes": session.baseline,
        "loaded_rss_bytes": loaded,
        "load_peak_rss_bytes": load_peak,
        "peak_rss_bytes": train_peak,
        "peak_was_reset": reset,
    }
    return {
        "workload": {**workload.describe(measured), "steps": len(measured), "evaluated_tokens": evaluated},
        "parameters": session.parameters(),
        "disk": disk,
        "steps": {
            "seconds": seconds,
            "warm_up_seconds": ticks.seconds[: spec.warm_up],
            "tokens": [b.tokens for b in measured],
            "examples": [b.examples for b in measured],
            "losses": ticks.losses,
            "cpu_share": ticks.cpu_share,
            **statistics.summary(seconds),
        },
        "tokens_per_s": sum(b.tokens for b in measured) / sum(seconds),
        "examples_per_s": sum(b.examples for b in measured) / sum(seconds),
        "flops": {**operations, "needed_per_s": needed, "executed_per_s": done},
        "gemm": speed,
        "utilisation": needed / speed["flops_per_s"],
        "utilisation_executed": done / speed["flops_per_s"],
        "memory": {
            "peak_bytes": cuda["peak_allocated_bytes"] if cuda else train_peak - session.baseline,
            **cpu,
            **cuda,
            "weights_bytes": memory.tensor_bytes(model.encoder, model.heads),
            "gradient_bytes": held.gradients,
            "optimiser_bytes": held.optimiser,
            "activation_bytes": activations,
        },
        "energy": ticks.energy,
        "energy_note": why,
        "origin": origin(session.job),
        "seconds": {**clock.seconds, "warm_up": sum(ticks.seconds[: spec.warm_up])},
    }


def steps_of(session: Session, steps: int) -> list[Work]:
    """The batches of the first steps, as the loop will take them."""
    out: list[Work] = []
    epoch = 0
    while len(out) < steps:
        out += session.learner.plan(epoch)
        epoch += 1
    return out[:steps]


def epochs_for(session: Session, steps: int) -> float:
    """Epochs that hold at least so many steps."""
    return math.ceil(steps / len(session.learner.plan(0))) + 1


def hooks(session: Session, ticks: Ticks) -> Hooks:
    """The learner's own plan and loss, no evaluation, and the clock as the report."""
    return Hooks(session.learner.plan, session.learner.loss, None, ticks)


def executed(session: Session, batch: Batch) -> tuple[int, ...]:
    """The lengths that are computed on: the real ones, or with padding."""
    return batch.lengths if session.packed else batch.padded


def _formula(session: Session, batch: Batch, lengths: tuple[int, ...]) -> flops.Flops:
    recipe, model = session.job.recipe, session.learner.model
    geometry = flops.Geometry.of(model.encoder.config)
    head = next(iter(model.heads.values()))
    return flops.formula(geometry, recipe.family, recipe.hyper, lengths, head, batch.selected)


def _operations(session: Session, planned: list[Work], batches: list[Batch]) -> tuple[dict[str, Any], int]:
    """Operations of the largest step, counted and by formula, and the bytes that autograd keeps in it."""
    model = session.learner.model
    at = max(range(len(batches)), key=lambda i: batches[i].tokens)
    work, size = planned[at], batches[at]
    batch = pack(work.features, work.rows, model.first_position, model.buckets).to(model.device)
    model.train(True)
    with memory.watching_activations(model.encoder, model.heads) as saved:
        loss = session.learner.loss(work.task, batch)
    del loss
    geometry = flops.Geometry.of(model.encoder.config)
    squares = 4.0 * geometry.hidden * sum(n * n for n in size.lengths)
    counted = flops.counted(
        lambda: session.learner.loss(work.task, batch).backward(),  # type: ignore[no-untyped-call]
        flops.Flops(squares, 2 * squares),
    )
    model.encoder.zero_grad(set_to_none=True)
    model.heads.zero_grad(set_to_none=True)
    by_formula = _formula(session, size, executed(session, size)).total
    values = {
        "tokens": size.tokens,
        "counted": counted,
        "formula": by_formula,
        "formula_without_padding": _formula(session, size, size.lengths).total,
        "ratio": flops.compare(counted, by_formula),
    }
    return values, saved.bytes


def _evaluate(session: Session) -> int:
    """Score the bounded dev split once; returns its tokens."""
    learner = session.learner
    for task, part in learner.parts.items():
        if "dev" in part.features:
            learner.scores(task, "dev")
    return sum(p.features["dev"].tokens for p in learner.parts.values() if "dev" in p.features)


def _save(session: Session) -> dict[str, int]:
    """Write adapter and head into a folder that is thrown away; returns their sizes in bytes."""
    from safetensors.torch import save_file

    model, job = session.learner.model, session.job
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder) / "adapter"
        methods.save(model.encoder, job.method, session.learner.name, adapter, job.recipe.backbone.id)
        head = Path(folder) / "head.safetensors"
        save_file({k: v.detach().float().cpu().contiguous() for k, v in model.heads.state_dict().items()}, head)
        return {
            "adapter_bytes": sum(p.stat().st_size for p in adapter.rglob("*") if p.is_file()),
            "head_bytes": head.stat().st_size,
        }


def _cuda(device: torch.device, ticks: Ticks) -> dict[str, int]:
    """The CUDA allocator's peaks, and what NVML says of the whole device; empty on a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(device),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(device),
        "between_steps_bytes": ticks.between,
        "device_used_bytes": ticks.used,
    }
