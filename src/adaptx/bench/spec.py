"""What one measurement is: a frozen value whose hash names the file of its result. Knows nothing of how to measure.

A label names a method with its optimiser and layout where they are not the usual ones: `full`, `full+8bit`,
`lora+padded`.
"""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, Literal

from adaptx.errors import AdaptxError
from adaptx.recipe import canonical
from adaptx.registry import Model

What = Literal["steps", "target", "serve", "accuracy"]
Layout = Literal["packed", "padded"]
OPTIMISERS = {"": "adamw", "8bit": "adamw8bit"}
COMPARED = (
    "full",
    "pfeiffer",
    "lora",
    "full+8bit",
    "houlsby",
    "parallel",
    "dora",
    "ia3",
    "qlora",
    "prefix",
    "probe",
)  # the most important rows first: a run that is cut off has them


class Spec(Model):
    """One measurement in one process.

    steps: time, memory and energy of optimiser steps. target: training time until the dev score is `target_score`.
    serve: `adapters` of the method side by side on one backbone. accuracy: one run to the end, scored on `target_lang`.
    `shape` with `lengths` ("nli", or tokens a sequence): random weights and made-up text in place of a backbone.
    """

    what: What = "steps"
    method: str
    optimiser: Literal["adamw", "adamw8bit"] = "adamw"
    layout: Layout = "packed"
    precision: Literal["fp32", "bf16"]
    backbone: str
    data: Literal["local", "hub", "sample", "shape"]
    lang: str = "en"
    task: str
    shape: str | None = None
    lengths: str | None = None
    batch_tokens: int | None = None  # None: the task's
    limit: int | None = None  # training examples
    warm_up: int = 0  # steps before the measured ones
    steps: int = 0  # measured steps
    target_score: float | None = None
    adapters: int | None = None
    epochs: float | None = None
    target_lang: str | None = None
    seed: int = 0
    repetition: int = 0

    @property
    def label(self) -> str:
        """The method with what is unusual about it."""
        extra = [k for k, v in OPTIMISERS.items() if k and v == self.optimiser]
        return "+".join([self.method, *extra, *(["padded"] if self.layout == "padded" else [])])

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(canonical(self.model_dump(mode="json")).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The file name of its result, without ending: readable first, then unique."""
        turn = f"s{self.seed}" if self.what == "accuracy" else f"r{self.repetition}"
        parts = [self.what, self.label, self.shape or self.backbone.rpartition("/")[2], self.task, self.precision]
        return f"{'-'.join(parts)}-{turn}-{self.digest[:10]}".replace("+", "_")

    def group(self) -> "Spec":
        """The same measurement whatever its repetition (accuracy: whatever its seed)."""
        return self.model_copy(update={"repetition": 0, "seed": 0})


def parse_label(text: str) -> dict[str, Any]:
    """METHOD[+8bit][+padded] as fields of a spec. Raises AX070."""
    method, *extra = text.split("+")
    unknown = sorted(set(extra) - {"8bit", "padded"})
    if not method or unknown:
        raise AdaptxError("AX070", text, "expected METHOD, METHOD+8bit, METHOD+padded or METHOD+8bit+padded.")
    return {
        "method": method,
        "optimiser": OPTIMISERS["8bit" if "8bit" in extra else ""],
        "layout": "padded" if "padded" in extra else "packed",
    }


def grid(labels: Sequence[str], common: dict[str, Any], **axes: Iterable[Any]) -> list[Spec]:
    """A spec for every combination of `axes` and label; labels change fastest, so that methods are neighbours in time.

    Raises AX070 for a label that does not read.
    """
    out = []
    for values in product(*axes.values()):
        for label in labels:
            out.append(Spec.model_validate({**common, **dict(zip(axes, values, strict=True)), **parse_label(label)}))
    return list(dict.fromkeys(out))
