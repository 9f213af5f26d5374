"""Nothing but the head is trained: the baseline that shows what an adapter adds. Knows no task and no store."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel


def attach(encoder: PreTrainedModel, name: str, hyper: dict[str, Any]) -> None:
    """The encoder stays as it is."""


def load(encoder: PreTrainedModel, name: str, folder: Path, hyper: dict[str, Any]) -> None:
    """The encoder stays as it is."""


def activate(encoder: PreTrainedModel, names: list[str]) -> None:
    """There is nothing to activate."""


def unfreeze(encoder: PreTrainedModel, name: str) -> None:
    """Everything in the encoder is frozen."""
    encoder.requires_grad_(False)


def save(encoder: PreTrainedModel, name: str, folder: Path, backbone_id: str) -> None:
    """An empty folder: the head is all there is."""
    folder.mkdir(parents=True, exist_ok=True)
