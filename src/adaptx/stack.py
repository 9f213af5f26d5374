"""Composition as a value: an ordered tuple of finished adapters, and the encoder that runs them. Trains nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptx import methods, trimmed
from adaptx.backbones import Backbone, BackboneFiles
from adaptx.errors import AdaptxError
from adaptx.registry import MethodSpec, Registry
from adaptx.store import Stored

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Stack:
    """Adapters from the bottom up: first the language, last the task. The empty stack is the bare backbone."""

    adapters: tuple[Stored, ...] = ()

    def __str__(self) -> str:
        return " + ".join(s.ref for s in self.adapters) or "none"

    @property
    def family(self) -> str | None:
        """The one family of its methods. Raises AX051 for a mixture."""
        families = {s.recipe.family for s in self.adapters}
        if len(families) > 1:
            raise AdaptxError("AX051", self, f"{' and '.join(sorted(families))} adapters do not stack on each other.")
        return next(iter(families), None)


def check_stackable(methods_used: list[str], registry: Registry) -> None:
    """Raise AX051 where several adapters of these methods would not compose."""
    for name in methods_used if len(methods_used) > 1 else ():
        if not registry.method(name).stackable:
            raise AdaptxError("AX051", " + ".join(methods_used), f"{name} adapters cannot be part of a stack.")


def names_of(stack: Stack) -> list[str]:
    """The names that the stack's adapters carry on an assembled encoder, bottom up."""
    if stack.family == "full":
        return ["full"] * len(stack.adapters)
    return [f"{adapter_name(s.recipe.lang, s.recipe.task)}_{i}" for i, s in enumerate(stack.adapters)]


def adapter_name(lang: str, task: str) -> str:
    """The name an adapter carries inside other tools."""
    return f"{lang}_{task}".replace("+", "_").replace("-", "_")


def member_names(adapters: Sequence[Stored]) -> list[str]:
    """The names that adapters carry inside a fusion of them: two runs of one task and language differ."""
    return [f"{adapter_name(s.recipe.lang, s.recipe.task)}_{s.manifest.run[:8]}" for s in adapters]


def check_backbone(stored: Stored, ours: BackboneFiles, allow_mismatch: bool = False) -> None:
    """Raise AX022 where the adapter was trained on other weights, unless that is allowed.

    Weights that differ by trimming alone are the same ones to an adapter, not to a fully fine-tuned model, which brings
    embeddings of its own.
    """
    theirs = stored.recipe.backbone
    if allow_mismatch or theirs.weights_sha256 == ours.weights_sha256:
        return
    own_vocabulary = stored.recipe.family == "full"
    if own_vocabulary or not trimmed.alike(theirs, ours.reference, ours.folder / "model.safetensors"):
        raise AdaptxError(
            "AX022",
            stored.ref,
            f"it was trained on {theirs.name} ({theirs.weights_sha256[:8]}), "
            f"the backbone here is {ours.name} ({ours.weights_sha256[:8]}).",
        )


def assemble(
    stack: Stack, backbone: Backbone, registry: Registry, precision: str, device: str, allow_mismatch: bool = False
) -> "PreTrainedModel":
    """An encoder over the shared frozen weights with the stack active and nothing trainable."""
    encoder = backbone.encoder(precision, device)
    names = names_of(stack)
    check_stackable([s.recipe.method for s in stack.adapters], registry)
    spec: MethodSpec | None = None
    for name, stored in zip(names, stack.adapters, strict=True):
        check_backbone(stored, backbone.files, allow_mismatch)
        spec = registry.method(stored.recipe.method)
        methods.load(encoder, spec, name, stored.adapter)
    if spec is not None:
        methods.activate(encoder, spec, names)
    encoder.requires_grad_(False)
    return encoder.eval()


def packable(stack: Stack, registry: Registry) -> bool:
    """Whether every method of the stack runs without padding."""
    return all(registry.method(s.recipe.method).packable for s in stack.adapters)
