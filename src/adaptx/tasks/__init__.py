"""One module per task kind: examples to features, head, loss, decoding. A kind knows no language and no method.

Every kind is a module with the functions of `Kind`. A head reads hidden states at the positions that the kind selected.
S: selected tokens, C: outputs of the head, H: hidden size. `logits` are what the head gives: [S, C] in float32, for a
vocabulary `adaptx.tasks.logits.Logits`.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from adaptx.errors import AdaptxError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from adaptx.backbones import Backbone
    from adaptx.data.examples import Example
    from adaptx.data.tokenize import Text
    from adaptx.engine.packing import Features, Packed
    from adaptx.registry import Task


class Kind(Protocol):
    """What a task kind offers."""

    def labels(self, task: "Task", examples: Sequence["Example"]) -> tuple[str, ...]:
        """The label set: the task's, or collected from training examples. Raises AX016."""

    def features(
        self, examples: Sequence["Example"], text: "Text", labels: tuple[str, ...], task: "Task"
    ) -> "Features":
        """Token sequences with selected positions and targets. Unknown gold labels become target -100."""

    def refresh(self, features: "Features", text: "Text", seed: int, epoch: int) -> "Features":
        """The features of one epoch (masked language modelling draws new masks; all others return them as they are)."""

    def head(self, backbone: "Backbone", labels: tuple[str, ...], task: "Task") -> "nn.Module":
        """A fresh head, [S, H] -> [S, C]."""

    def loss(self, logits: Any, batch: "Packed") -> "torch.Tensor":
        """Mean loss of a batch over its items (sentences, words, questions)."""

    def items(self, batch: "Packed") -> int:
        """How many items the loss of a batch is the mean of."""

    def summary(self, logits: Any, batch: "Packed") -> "torch.Tensor":
        """What of the logits evaluation keeps: [S, k]."""

    def decode(
        self,
        summary: "np.ndarray[Any, Any]",
        features: "Features",
        examples: Sequence["Example"],
        labels: tuple[str, ...],
        task: "Task",
    ) -> list[Any]:
        """One prediction per example, in order. `summary` [S, k] is in the features' order."""

    def references(self, examples: Sequence["Example"]) -> list[Any]:
        """The gold answer per example, in order, as the metrics take it."""


KINDS = ("classification", "tagging", "retrieval", "span_qa", "multiple_choice", "mlm")


def kind_of(task: "Task") -> Kind:
    """The module that implements the task's kind."""
    return cast(Kind, import_module(f"adaptx.tasks.{task.kind}"))


def fixed_labels(task: "Task", seen: Sequence[str]) -> tuple[str, ...]:
    """The task's labels, or those `seen`, sorted. Raises AX016 where there is nothing."""
    found = task.labels or tuple(sorted(set(seen)))
    if not found:
        raise AdaptxError("AX016", task.id, "the training data has no labels.")
    return found
