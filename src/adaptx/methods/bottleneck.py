"""Bottleneck adapters through AdapterHub's `adapters` library: the only importer of it. Knows no task and no store."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from adaptx import libraries

with libraries.importing("bitsandbytes"):  # it looks for 4-bit linears, for its LoRA: ours is peft's
    import adapters
    from adapters import init
    from adapters.composition import Fuse, Stack
    from adapters.loading import AdapterLoader

OURS = ("adapters.", "invertible_adapters.", "prefix_tunings.", "prefix_gates.")
CONFIGS = {
    "seq_bn": adapters.SeqBnConfig,
    "seq_bn_inv": adapters.SeqBnInvConfig,
    "double_seq_bn": adapters.DoubleSeqBnConfig,
    "par_bn": adapters.ParBnConfig,
    "prefix_tuning": adapters.PrefixTuningConfig,
}


__all__ = ["Fuse", "activate", "attach", "load", "move_like_backbone", "save", "unfreeze"]


def _prepare(encoder: PreTrainedModel) -> None:
    if not hasattr(encoder, "adapters_config"):
        init(encoder)
        move_like_backbone(encoder)


def move_like_backbone(encoder: PreTrainedModel) -> None:
    """Move what was added to the device of the backbone."""
    encoder.to(encoder.embeddings.word_embeddings.weight.device)


def attach(encoder: PreTrainedModel, name: str, hyper: dict[str, Any]) -> None:
    """`hyper`: `config` names the architecture, the rest are its fields (`reduction_factor`, ...)."""
    _prepare(encoder)
    fields = {k: v for k, v in hyper.items() if k != "config"}
    encoder.add_adapter(name, config=CONFIGS[hyper["config"]](**fields))
    move_like_backbone(encoder)


def load(encoder: PreTrainedModel, name: str, folder: Path, hyper: dict[str, Any]) -> None:
    """The folder's tensors must be verified beforehand: the library itself ignores missing ones."""
    _prepare(encoder)
    encoder.load_adapter(str(folder), load_as=name, use_safetensors=True, set_active=False)
    move_like_backbone(encoder)


def activate(encoder: PreTrainedModel, names: list[str]) -> None:
    """One adapter, or a stack whose first name is applied first."""
    encoder.set_active_adapters(Stack(*names) if names else None)


def unfreeze(encoder: PreTrainedModel, name: str) -> None:
    """Trainable: the adapter's own tensors, an invertible one and shared prefixes included."""
    encoder.requires_grad_(False)
    for key, parameter in encoder.named_parameters():
        if f".{name}." in f".{key}." and any(part in key for part in OURS):
            parameter.requires_grad_(True)


def save(encoder: PreTrainedModel, name: str, folder: Path, backbone_id: str) -> None:
    """adapter_config.json and adapter.safetensors, as `load_adapter(folder, use_safetensors=True)` reads them."""
    loader = AdapterLoader(encoder, use_safetensors=True)
    collect = loader.weights_helper.state_dict
    # A prefix is one module that every layer refers to; safetensors writes no tensor under two names.
    loader.weights_helper.state_dict = lambda wanted: {k: v.clone() for k, v in collect(wanted).items()}
    folder.mkdir(parents=True, exist_ok=True)
    loader.save(str(folder), name)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["model_name"] = backbone_id  # the library notes the path it loaded from
    path.write_text(json.dumps(config, indent=2, sort_keys=True))
