"""What it takes to hold n adapters ready: one frozen backbone with n of them on it, against n full models."""

import copy
import statistics
import time
from typing import Any

import torch
from torch import nn

from adaptx import backbones, methods
from adaptx.bench import memory
from adaptx.bench.session import import_libraries, origin
from adaptx.bench.spec import Spec
from adaptx.bench.workload import job_of
from adaptx.config import Settings
from adaptx.resident import resident
from adaptx.training import Clock


def measure(settings: Settings, spec: Spec) -> dict[str, Any]:
    """The record of a "serve" measurement: bytes of all weights, resident growth, time to attach and to switch."""
    import_libraries(settings, spec)
    clock, n = Clock(), spec.adapters or 1
    with clock("read"):
        job = job_of(settings, spec)
    with clock("load"):
        backbone = backbones.load(job.files)
        device = torch.device(backbones.pick_device(settings.device))
        encoder = backbone.encoder(spec.precision, str(device))
    before = resident()[0]
    models: list[nn.Module] = [encoder]
    switches: list[float] = []
    with clock("attach"):
        if job.method.family == "full":
            models += [copy.deepcopy(encoder) for _ in range(n - 1)]
        else:
            for i in range(n):
                methods.attach(encoder, job.method, job.recipe.hyper, f"served_{i}")
            encoder.requires_grad_(False)
    if job.method.family != "full":
        for i in range(n):
            began = time.perf_counter()
            methods.activate(encoder, job.method, [f"served_{i}"])
            switches.append(time.perf_counter() - began)
    return {
        "serve": {
            "adapters": n,
            "weights_bytes": memory.tensor_bytes(*models),
            "resident_growth_bytes": resident()[0] - before,
            "attach_seconds": clock.seconds["attach"] / n,
            "switch_seconds": statistics.median(switches) if switches else None,
        },
        "seconds": dict(clock.seconds),
        "origin": origin(job),
    }
