"""The cost of optimiser steps: time, tokens, operations, memory, energy, and the phases around them. Keeps raw values.

The training loop runs as it does in training; its report after every step is the clock. Warm-up steps are kept apart,
and so is the first pass over the batches where it leaves behind what enters the lowest trained layer. What would
disturb the times (counting operations, watching activations, the device's own speed) runs afterwards.
"""

import tempfile
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from adaptx import methods
from adaptx.bench import energy, flops, gemm, memory, statistics, workload
from adaptx.bench.session import Session, loop_options, open_session, origin
from adaptx.bench.spec import Spec
from adaptx.bench.ticks import Ticks
from adaptx.bench.workload import Batch
from adaptx.config import Settings
from adaptx.engine import loop
from adaptx.engine.loop import Hooks, Work
from adaptx.engine.packing import pack
from adaptx.resident import resident


def measure(settings: Settings, spec: Spec) -> dict[str, Any]:
    """The record of a "steps" measurement. Raises AX094, and what training raises."""
    session = open_session(settings, spec)
    with tempfile.TemporaryDirectory() as folder:
        session.learner.keep_lower_states(Path(folder) / "states")
        return _measure(session)


def _measure(session: Session) -> dict[str, Any]:
    spec, model, clock = session.spec, session.learner.model, session.clock
    warm_up, first, measured = steps_of(session)
    planned = [*warm_up, *first, *measured]
    before = len(planned) - len(measured)
    loaded, load_peak = resident()
    reset = memory.reset_peak()
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    counters, why = energy.gpu(str(model.device))
    ticks = Ticks(model.device, before, len(planned), counters)
    ticks.start()
    with clock("train"), memory.watching_optimisers() as held:
        options = loop_options(session.job, epochs=1, max_steps=len(planned))
        progress = loop.train(model, hooks(session, planned, ticks), options)
    train_peak = resident()[1]
    cuda = _cuda(model.device, ticks)
    batches = [workload.batch_of(w) for w in measured]
    with clock("evaluate"):
        evaluated = _evaluate(session)
    with clock("save"):
        disk = _save(session)
    with clock("count"):
        operations, activations = _operations(session, measured, batches)
    with clock("gemm"):
        speed = gemm.best(model.device, spec.precision)
    every = ticks.seconds
    seconds = every[before:]
    needed = sum(_formula(session, b, b.lengths).total for b in batches) / sum(seconds)
    done = sum(_formula(session, b, executed(session, b), session.packed).total for b in batches) / sum(seconds)
    cpu = {
        "baseline_rss_bytes": session.baseline,
        "loaded_rss_bytes": loaded,
        "load_peak_rss_bytes": load_peak,
        "peak_rss_bytes": train_peak,
        "peak_was_reset": reset,
    }
    return {
        "workload": {**workload.describe(batches), "steps": len(batches), "evaluated_tokens": evaluated},
        "parameters": session.parameters(),
        "disk": disk,
        "steps": {
            "seconds": seconds,
            "warm_up_seconds": every[: len(warm_up)],
            "tokens": [b.tokens for b in batches],
            "examples": [b.examples for b in batches],
            "losses": progress.losses,
            "pieces": ticks.pieces,
            **statistics.summary(seconds),
        },
        "kept": _kept(session, every[len(warm_up) : before]),
        "cpu_share": ticks.cpu_share(seconds) if model.device.type == "cpu" else None,
        "tokens_per_s": sum(b.tokens for b in batches) / sum(seconds),
        "examples_per_s": sum(b.examples for b in batches) / sum(seconds),
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
        "seconds": {**clock.seconds, "warm_up": sum(every[:before])},
    }


def steps_of(session: Session) -> tuple[list[Work], list[Work], list[Work]]:
    """The batches to warm up with, those of a first pass that keeps what enters the lowest trained layer (none where
    nothing is kept), and the measured ones. After a first pass these are the same ones again, as in later epochs."""
    spec, learner = session.spec, session.learner
    planned = learner.plan(0)
    warm_up, first = planned[: spec.warm_up], planned[spec.warm_up : spec.warm_up + spec.steps]
    if learner.model.lower is not None:
        return warm_up, first, list(islice(cycle(first or warm_up), spec.steps))
    epoch = 0
    while len(planned) < spec.warm_up + spec.steps:
        epoch += 1
        planned += learner.plan(epoch)
    return planned[: spec.warm_up], [], planned[spec.warm_up : spec.warm_up + spec.steps]


def hooks(session: Session, planned: list[Work], ticks: Ticks) -> Hooks:
    """The planned batches, the learner's own loss, no evaluation, and the clock as the report."""
    learner = session.learner
    return Hooks(lambda _: planned, learner.loss, None, ticks, learner.items, ticks.split)


def _kept(session: Session, first_pass: list[float]) -> dict[str, Any] | None:
    """What the first pass left behind and what its steps took; None where nothing is kept."""
    lower = session.learner.model.lower
    if lower is None:
        return None
    found = {"layers": lower.layers, "bytes": lower.held_bytes + lower.written_bytes}
    return {**found, "first_pass": statistics.summary(first_pass) if first_pass else None}


def executed(session: Session, batch: Batch) -> tuple[int, ...]:
    """The lengths that are computed on: the real ones, or with padding."""
    return batch.lengths if session.packed else batch.padded


def _formula(session: Session, batch: Batch, lengths: tuple[int, ...], narrow: bool = True) -> flops.Flops:
    recipe, model = session.job.recipe, session.learner.model
    geometry = flops.Geometry.of(model.encoder.config)
    head = next(iter(model.heads.values()))
    known = model.lower.layers if model.lower else 0
    return flops.formula(geometry, recipe.family, recipe.hyper, lengths, head, batch.selected, narrow, known)


def _operations(session: Session, planned: list[Work], batches: list[Batch]) -> tuple[dict[str, Any], int]:
    """Operations of the largest step, by formula and (in the first repetition) counted, and the bytes that autograd
    keeps in it. Raises AX094."""
    model, learner = session.learner.model, session.learner
    at = max(range(len(batches)), key=lambda i: batches[i].tokens)
    work, size = planned[at], batches[at]
    batch = pack(work.features, work.rows, model.first_position, model.buckets).to(model.device)
    model.train(True)
    with memory.watching_activations(model.encoder, model.heads) as saved:
        loss = learner.loss(work.task, batch)
    del loss
    expected = _formula(session, size, executed(session, size), session.packed)
    again = expected.forward if model.checkpointing else 0.0  # the layers run forward twice
    values = {
        "tokens": size.tokens,
        "formula": expected.total + again,
        "formula_without_padding": _formula(session, size, size.lengths).total,
        "counted": None,
        "ratio": None,
    }
    if session.spec.repetition == 0:
        geometry = flops.Geometry.of(model.encoder.config)
        squares = 4.0 * geometry.hidden * sum(n * n for n in size.lengths)
        counted = flops.counted(
            lambda: learner.loss(work.task, batch).backward(),  # type: ignore[no-untyped-call]
            flops.Flops(squares, 2 * squares),
        )
        values |= {"counted": counted, "ratio": flops.compare(counted, expected.total + again)}
    model.encoder.zero_grad(set_to_none=True)
    model.heads.zero_grad(set_to_none=True)
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
