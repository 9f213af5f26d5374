"""Prediction heads of other libraries that have the shape of ours: which tensors they are, their label order, and back.

Pure rules on names and configs; loads nothing. Heads of another shape are left out, and the reason is said.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# kind -> our tensor stem: (in AdapterHub's nn.Sequential, in transformers' models for the task)
STEMS = {
    "classification": {"dense": ("1", "classifier.dense"), "out": ("4", "classifier.out_proj")},
    "tagging": {"out": ("1", "classifier")},
}
# kind -> what transformers calls a model for it, after the name of the encoder
CLASSES = {
    "classification": "ForSequenceClassification",
    "tagging": "ForTokenClassification",
    "span_qa": "ForQuestionAnswering",
    "multiple_choice": "ForMultipleChoice",
}
LAYERS = {"classification": 2, "tagging": 1}
HUB_HEAD = re.compile(r"heads\.[^.]+\.(?P<stem>\d+)\.(?P<what>weight|bias)")


@dataclass(frozen=True)
class Head:
    """Our name of each tensor by its foreign name, and the labels in the order of the outputs."""

    names: dict[str, str]
    labels: tuple[str, ...]


def of_adapterhub(config: Any, names: Iterable[str], kind: str) -> Head | str:
    """The head that AdapterHub's head_config.json describes, or why it is left out."""
    inner = config.get("config") if isinstance(config, dict) else None
    if kind not in LAYERS or not isinstance(inner, dict):
        return f"heads of {kind} tasks are not taken over"
    labels = inner.get("label2id")
    if not isinstance(labels, dict) or sorted(map(str, labels.values())) != sorted(map(str, range(len(labels)))):
        return "its head does not name its labels"
    if inner.get("layers") != LAYERS[kind] or (kind == "classification" and inner.get("activation_function") != "tanh"):
        return "its head has other layers than ours"
    if inner.get("use_pooler"):
        return "its head reads the backbone's pooler, ours does not"
    found = {}
    for name in names:
        match = HUB_HEAD.fullmatch(name)
        stem = next((ours for ours, (theirs, _) in STEMS[kind].items() if match and theirs == match["stem"]), None)
        if match is None or stem is None:
            return f"its head has a tensor {name}, ours does not"
        found[name] = f"{stem}.{match['what']}"
    return _whole(found, kind, tuple(sorted(map(str, labels), key=lambda label: int(labels[label]))))


def of_transformers(names: Iterable[str], kind: str, labels: tuple[str, ...]) -> Head | str:
    """The head that PEFT saved under transformers' names, or why it is left out. `labels`: as the user gave them."""
    if kind not in STEMS:
        return f"heads of {kind} tasks are not taken over"
    if not labels:
        return "its files do not name the labels of its head; give them in order with --labels"
    wanted = {
        f"{theirs}.{what}": f"{ours}.{what}" for ours, (_, theirs) in STEMS[kind].items() for what in ("weight", "bias")
    }
    found = {name: wanted[name] for name in names if name in wanted}
    return _whole(found, kind, labels) if len(found) == len(list(names)) else "its head has other layers than ours"


def _whole(found: dict[str, str], kind: str, labels: tuple[str, ...]) -> Head | str:
    wanted = {f"{stem}.{what}" for stem in STEMS[kind] for what in ("weight", "bias")}
    return Head(found, labels) if set(found.values()) == wanted else "its head has other layers than ours"


def in_transformers(kind: str, prefix: str) -> dict[str, str]:
    """transformers' name of each of our tensor stems in the model for `kind`; `prefix`: of its encoder, "bert.".

    BERT's models, and every model for multiple choice, read the first token through the encoder's pooler, a dense layer
    with tanh: the first of our two.
    """
    if kind == "classification" and prefix != "bert.":
        return {"dense": "classifier.dense", "out": "classifier.out_proj"}
    if kind in ("classification", "multiple_choice"):
        return {"dense": f"{prefix}pooler.dense", "out": "classifier"}
    return {"out": "qa_outputs" if kind == "span_qa" else "classifier"}
