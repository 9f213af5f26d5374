"""How an encoder is adapted. One module per family; each offers the same five functions and knows no task.

    attach(encoder, name, hyper)      put fresh trainable weights called `name` on the encoder
    load(encoder, name, folder, hyper)  put the weights in `folder` on the encoder, not trainable
    activate(encoder, names)          run with exactly these, in order
    unfreeze(encoder, name)           make `name`, and nothing else, trainable
    save(encoder, name, folder, id)   write what other tools read

`bottleneck` and `lora` are the only importers of `adapters` and `peft`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from adaptx.registry import MethodSpec

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def family(spec: MethodSpec) -> ModuleType:
    """The module that implements the method's family."""
    from importlib import import_module

    return import_module(f"adaptx.methods.{spec.family}")


def attach(encoder: "PreTrainedModel", spec: MethodSpec, hyper: dict[str, Any], name: str) -> None:
    """Put fresh weights of the method on the encoder, active and trainable."""
    module = family(spec)
    module.attach(encoder, name, hyper)
    module.activate(encoder, [name])
    module.unfreeze(encoder, name)


def fuse(encoder: "PreTrainedModel", spec: MethodSpec, name: str, members: Mapping[str, Path]) -> None:
    """Put saved adapters, by the names they get, and a fresh fusion of them on the encoder, the fusion trainable."""
    module = family(spec)
    module.fuse(encoder, name, members)
    module.activate(encoder, [name])
    module.unfreeze(encoder, name)


def load(encoder: "PreTrainedModel", spec: MethodSpec, name: str, folder: Path) -> None:
    """Put the saved weights in `folder` on the encoder, active and frozen."""
    module = family(spec)
    module.load(encoder, name, folder, spec.hyper)
    module.activate(encoder, [name])
    encoder.requires_grad_(False)


def activate(encoder: "PreTrainedModel", spec: MethodSpec, names: Sequence[str]) -> None:
    """Run the encoder with the adapters `names`, in order."""
    family(spec).activate(encoder, list(names))


def unfreeze(encoder: "PreTrainedModel", spec: MethodSpec, name: str) -> None:
    """Make the adapter `name`, and nothing else on the encoder, trainable."""
    family(spec).unfreeze(encoder, name)


def save(encoder: "PreTrainedModel", spec: MethodSpec, name: str, folder: Path, backbone_id: str) -> None:
    """Write the adapter `name` in its library's own format, safetensors only."""
    family(spec).save(encoder, name, folder, backbone_id)


def trainable(module: "nn.Module") -> dict[str, "nn.Parameter"]:
    """Parameters with gradients on, by name."""
    return {n: p for n, p in module.named_parameters() if p.requires_grad}
