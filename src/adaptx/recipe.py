"""The frozen, fully resolved description of one training run; its hash is the run id. Knows no code that runs it."""

import hashlib
import json
from typing import Any, Literal

from adaptx.registry import Model

OptimiserName = Literal["adamw", "adamw8bit"]
Precision = Literal["fp32", "bf16", "int8"]  # int8: products with frozen weights; everything else as in bf16
PrecisionChoice = Literal["auto", Precision]


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class BackboneRef(Model):
    """Which weights and tokenizer: the hashes decide, id and revision are for people."""

    name: str
    id: str
    revision: str
    weights_sha256: str
    reading_sha256: str = ""  # of config.json and tokenizer.json
    full_sha256: str = ""  # of the weights that these were trimmed from; empty: not trimmed
    body_sha256: str = ""  # of trimmed weights: of the tensors outside the vocabulary


class DataRef(Model):
    """Where rows came from: file sha256, commit or generator version as `revision`; `rows` were used."""

    task: str
    split: Literal["train", "dev", "test"]
    source: Literal["local", "hub", "sample"]
    id: str
    revision: str
    licence: str
    rows: int


class TaskSpec(Model):
    """What of a task changes a result: its kind, labels (None: collected from the data), length bound and options."""

    id: str
    kind: str
    labels: tuple[str, ...] | None
    max_tokens: int
    options: dict[str, Any] = {}


class Mixing(Model):
    """How often each task of a multi-task run gives a batch: shares proportional to rows ** (1 / temperature).

    proportional: temperature 1; uniform: every task alike (temperature infinite, written 0).
    """

    temperature: float = 1.0


class Parent(Model):
    """A finished run that this one builds on: `init_from` copies its weights, `stack` runs on top of it, frozen,
    `combine` adds it with a weight, `fuse` attends to it, frozen."""

    how: Literal["init_from", "stack", "combine", "fuse"]
    ref: str
    run: str
    weight: float | None = None


class Optimiser(Model):
    """Optimiser and schedule: AdamW (its moments in 8 bits with adamw8bit), linear warm-up and decay."""

    name: OptimiserName = "adamw"
    lr: float
    epochs: float
    max_steps: int | None = None
    batch_tokens: int
    warmup: float = 0.06
    weight_decay: float = 0.0
    clip: float = 1.0
    dropout: float = 0.0  # in the encoder; heads have their own
    patience: int | None = None
    average_last: int = 0  # epochs whose last weights are averaged; 0: the weights of the best dev score


class Recipe(Model):
    """One training run. Everything that can change a result is in here, nothing else is."""

    schema_version: Literal[1] = 1
    role: Literal["language", "intermediate", "target", "diagnostic"]
    lang: str
    task: str  # the task's id; several joined by "+" are trained together
    tasks: tuple[TaskSpec, ...]
    mixing: Mixing | None = None
    backbone: BackboneRef
    method: str
    family: str
    hyper: dict[str, Any] = {}
    data: tuple[DataRef, ...]
    data_options: str = ""  # sha256 of the reader options, row ranges and column maps
    optimiser: Optimiser
    precision: Precision
    compiled: bool = False  # by torch.compile, whose fused kernels round differently
    seed: int
    limit: int | None = None
    parents: tuple[Parent, ...] = ()

    @property
    def run_id(self) -> str:
        """sha256 of the canonical JSON, 64 hex digits. Licences are terms, not causes: they do not count."""
        value = self.model_dump(mode="json")
        for ref in value["data"]:
            del ref["licence"]
        # What came later than the first run ids counts only where it is used.
        if not self.backbone.full_sha256:
            del value["backbone"]["full_sha256"], value["backbone"]["body_sha256"]
        if not self.optimiser.average_last:
            del value["optimiser"]["average_last"]
        if self.optimiser.name == "adamw":
            del value["optimiser"]["name"]
        if not self.compiled:
            del value["compiled"]
        return digest_of(value)

    def spec(self, task: str) -> TaskSpec | None:
        """What the recipe says about one of its tasks; None where it is not among them."""
        return next((t for t in self.tasks if t.id == task), None)

    @property
    def ref(self) -> str:
        """`LANG/TASK:METHOD@RUN` with the first eight digits of the run id."""
        return f"{self.lang}/{self.task}:{self.method}@{self.run_id[:8]}"

    def parent(self, how: str) -> tuple[Parent, ...]:
        """Parents of one sort, in order."""
        return tuple(p for p in self.parents if p.how == how)
