"""From what a user asks for to the measurements to make: methods x tasks x batch tokens x precisions, in order.

Reads the registry; measures nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptx import backbones, jobs
from adaptx.bench.spec import COMPARED, Spec, grid, parse_label
from adaptx.config import Settings
from adaptx.data import sources

ROWS = 2000  # training examples of a cost measurement: a few dozen steps, and embeddings touched as in training


@dataclass(frozen=True)
class Ask:
    """The flags of `adaptx bench cost`. Sequences are crossed; None is the task's or the shape's default."""

    methods: Sequence[str] = COMPARED
    tasks: Sequence[str] = ("udpos",)
    lang: str = "en"
    batch_tokens: Sequence[int | None] = (None,)
    precisions: Sequence[str] = ("auto",)
    layouts: Sequence[str] = ("packed",)
    shapes: Sequence[str | None] = (None,)
    lengths: Sequence[str] = ("nli",)
    limit: int = ROWS
    warm_up: int = 2
    steps: int = 10


def cost(ask: Ask, settings: Settings) -> list[Spec]:
    """The "steps" measurements of an ask. Raises AX001-AX003, AX014, AX070."""
    device = backbones.pick_device(settings.device)
    out: list[Spec] = []
    for shape in ask.shapes:
        common = {"limit": ask.limit, "warm_up": ask.warm_up, "steps": ask.steps, "lang": ask.lang}
        axes: dict[str, Any] = {
            "precision": [jobs.precision_for(p, device) for p in ask.precisions],
            "batch_tokens": ask.batch_tokens,
        }
        for task in ask.tasks if shape is None else ("synthetic",):
            origin = _origin(settings, task, ask.lang) if shape is None else _made_up(shape)
            if shape is not None:
                axes["lengths"] = ask.lengths
            out += grid(labels(ask, settings), {**common, **origin, "task": task}, **axes)
    return list(dict.fromkeys(out))


def labels(ask: Ask, settings: Settings) -> list[str]:
    """Method labels in every layout asked for. A method without a packed form is padded. Raises AX003, AX070."""
    out = []
    for layout in ask.layouts:
        for text in ask.methods:
            fields = parse_label(text)
            method = settings.registry.method(fields["method"])
            padded = layout == "padded" or fields["layout"] == "padded" or not method.packable
            eight = "+8bit" if fields["optimiser"] != "adamw" else ""
            out.append(f"{fields['method']}{eight}{'+padded' if padded else ''}")
    return list(dict.fromkeys(out))


def _origin(settings: Settings, task: str, lang: str) -> dict[str, Any]:
    source = sources.pick(settings, settings.registry.task(task), lang)
    return {"backbone": backbones.locate(settings).name, "data": source.kind}


def _made_up(shape: str) -> dict[str, Any]:
    return {"backbone": f"{shape}-random", "data": "shape", "shape": shape}
