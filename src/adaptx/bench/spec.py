"""What one measurement is: a frozen value whose hash names the file of its result. Knows nothing of how to measure.

A label names a method with what is unusual about how it runs: `full`, `full+8bit` (moments in 8 bits), `lora+padded`,
`full+ckpt` (gradient checkpointing), `lora+upper` (the upper half of the layers, what enters them kept),
`lora+int8` (products with frozen weights in 8 bits), `lora+compile` (what lies between products fused).
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, Literal

from adaptx.errors import AdaptxError
from adaptx.recipe import OptimiserName, Precision, digest_of
from adaptx.registry import Model

What = Literal["steps", "target", "serve", "accuracy"]
Layout = Literal["packed", "padded"]
UNUSUAL: dict[str, tuple[str, Any]] = {
    "8bit": ("optimiser", "adamw8bit"),
    "ckpt": ("checkpointing", True),
    "padded": ("layout", "padded"),
    "upper": ("adapter_layers", "upper"),
    "int8": ("precision", "int8"),
    "compile": ("compiled", True),
}
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
    optimiser: OptimiserName = "adamw"
    layout: Layout = "packed"
    checkpointing: bool = False
    compiled: bool = False
    adapter_layers: str | None = None
    precision: Precision
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
        return "+".join([self.method, *(k for k, (field, v) in UNUSUAL.items() if getattr(self, field) == v)])

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hex digits."""
        value = self.model_dump(mode="json")
        if not self.compiled:
            del value["compiled"]  # it came later than the first results
        return digest_of(value)

    @property
    def name(self) -> str:
        """The file name of its result, without ending: readable first, then unique."""
        sizes = {"l": self.lengths if self.lengths != "nli" else None, "b": self.batch_tokens, "n": self.adapters}
        parts = [self.what, self.label, self.shape or self.backbone.rpartition("/")[2], self.task, self.precision]
        parts += [f"{k}{v}" for k, v in sizes.items() if v is not None]
        parts.append(f"s{self.seed}" if self.what == "accuracy" else f"r{self.repetition}")
        return "-".join([*parts, self.digest[:10]]).replace("+", "_")

    def group(self) -> "Spec":
        """The same measurement whatever its repetition (accuracy: whatever its seed)."""
        return self.model_copy(update={"repetition": 0, "seed": 0})


def parse_label(text: str) -> dict[str, Any]:
    """METHOD with any of `UNUSUAL` after it as fields of a spec. Raises AX070."""
    method, *extra = text.split("+")
    if not method or not set(extra) <= UNUSUAL.keys():
        raise AdaptxError(
            "AX070", text, f"expected METHOD, with any of {', '.join(f'+{k}' for k in UNUSUAL)} after it."
        )
    return {"method": method, **dict(UNUSUAL[k] for k in extra)}


def grid(labels: Sequence[str], common: dict[str, Any], **axes: Iterable[Any]) -> list[Spec]:
    """A spec for every combination of `axes` and label; labels change fastest, so that methods are neighbours in time.

    Raises AX070 for a label that does not read.
    """
    out = []
    for values in product(*axes.values()):
        for label in labels:
            out.append(Spec.model_validate({**common, **dict(zip(axes, values, strict=True)), **parse_label(label)}))
    return list(dict.fromkeys(out))
