"""AdapterFusion through AdapterHub's `adapters` library: attention over frozen adapters. Knows no task and no store.

In every layer the state h of a token asks the outputs z_n of the adapters: sum over n of softmax(h Q (z_n K)) z_n V.
Only Q, K and V [H, H] are trained; V starts as the identity, and nothing holds it there (the paper adds a penalty).
A saved folder is whole: what the library calls an AdapterFusion, and a folder for each adapter that it attends to.
Source: Pfeiffer et al. 2021, section 3.2.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from adaptx.errors import AdaptxError
from adaptx.methods import bottleneck

CONFIG = "adapter_fusion_config.json"
MEMBER = re.compile(r"[A-Za-z0-9_]+")
KIND = "dynamic"  # the library's name for what the paper describes


def attach(encoder: PreTrainedModel, name: str, hyper: dict[str, Any]) -> None:
    """A fusion of nothing does not exist."""
    raise AdaptxError(
        "AX051", "fusion", "it needs adapters to attend to.", "Name them: `adaptx fuse REF REF --task TASK`."
    )


def fuse(encoder: PreTrainedModel, name: str, members: Mapping[str, Path]) -> None:
    """Load the bottleneck adapters `members`, verified beforehand, and add a fresh fusion of them."""
    for member, folder in members.items():
        bottleneck.load(encoder, member, folder, {})
    encoder.add_adapter_fusion(list(members), config=KIND, name=name)
    bottleneck.move_like_backbone(encoder)


def load(encoder: PreTrainedModel, name: str, folder: Path, hyper: dict[str, Any]) -> None:
    """The folder's tensors must be verified beforehand. Raises AX021 for adapters that are not inside it."""
    for member in json.loads((folder / CONFIG).read_text("utf-8"))["adapter_names"]:
        if not MEMBER.fullmatch(member) or not (folder / member / "adapter.safetensors").is_file():
            raise AdaptxError("AX021", member, f"{CONFIG} names an adapter that the folder does not hold.")
        bottleneck.load(encoder, member, folder / member, hyper)
    encoder.load_adapter_fusion(str(folder), load_as=name, use_safetensors=True, set_active=False)
    bottleneck.move_like_backbone(encoder)


def activate(encoder: PreTrainedModel, names: list[str]) -> None:
    """One fusion: it is not part of stacks."""
    (name,) = names
    encoder.set_active_adapters(bottleneck.Fuse(*_members(encoder, name), name=name))


def unfreeze(encoder: PreTrainedModel, name: str) -> None:
    """Trainable: queries, keys and values of the fusion, not the adapters."""
    for key, parameter in encoder.named_parameters():
        parameter.requires_grad_(f".adapter_fusion_layer.{name}." in key)


def save(encoder: PreTrainedModel, name: str, folder: Path, backbone_id: str) -> None:
    """What `load_adapter` reads in a folder for each adapter, and what `load_adapter_fusion` reads in `folder`."""
    for member in _members(encoder, name):
        bottleneck.save(encoder, member, folder / member, backbone_id)
    encoder.save_adapter_fusion(str(folder), name, use_safetensors=True)


def _members(encoder: PreTrainedModel, name: str) -> list[str]:
    """The adapters of a fusion, in order."""
    return list(encoder.adapters_config.get_fusion(name)[1])
