"""Low-rank adapters through Hugging Face `peft`: the only importer of it. Knows no task and no store."""

from pathlib import Path
from typing import Any

import peft
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"
ALL_LINEAR = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]


def attach(encoder: PreTrainedModel, name: str, hyper: dict[str, Any]) -> None:
    """`hyper`: fields of `peft.LoraConfig`; all linear layers of the encoder unless `target_modules` says otherwise."""
    config = peft.LoraConfig(**{"target_modules": ALL_LINEAR, **hyper})
    _inject(encoder, name, config)


def load(encoder: PreTrainedModel, name: str, folder: Path) -> None:
    """The folder's tensors must be verified beforehand."""
    config = peft.LoraConfig.from_pretrained(str(folder))
    config.inference_mode = False
    _inject(encoder, name, config)
    state = {k.removeprefix("base_model.model."): v for k, v in load_file(folder / WEIGHTS).items()}
    peft.set_peft_model_state_dict(encoder, state, adapter_name=name)


def _inject(encoder: PreTrainedModel, name: str, config: peft.LoraConfig) -> None:
    peft.inject_adapter_in_model(config, encoder, name)
    _configs(encoder)[name] = config
    for key, parameter in encoder.named_parameters():
        if "lora_" in key and f".{name}." in f".{key}.":
            parameter.data = parameter.data.float()  # injected in the frozen weights' dtype, trained in float32


def activate(encoder: PreTrainedModel, names: list[str]) -> None:
    """Several names add up: each contributes its own low-rank update of the frozen weight."""
    for module in encoder.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_adapter(names)


def unfreeze(encoder: PreTrainedModel, name: str) -> None:
    """`set_adapter` makes everything it activates trainable, so freeze again and free `name` alone."""
    encoder.requires_grad_(False)
    for key, parameter in encoder.named_parameters():
        if f".{name}." in f".{key}." and "lora_" in key:
            parameter.requires_grad_(True)


def save(encoder: PreTrainedModel, name: str, folder: Path, backbone_id: str) -> None:
    """adapter_config.json and adapter_model.safetensors, as `PeftModel.from_pretrained` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = _configs(encoder)[name]
    config.base_model_name_or_path, config.inference_mode = backbone_id, True
    config.save_pretrained(str(folder))
    config.inference_mode = False
    state = peft.get_peft_model_state_dict(encoder, adapter_name=name, save_embedding_layers=False)
    save_file(
        {f"base_model.model.{k}": v.detach().float().contiguous().cpu() for k, v in state.items()},
        folder / WEIGHTS,
        {"format": "pt"},
    )


def _configs(encoder: PreTrainedModel) -> dict[str, Any]:
    """The configurations by adapter name; the state-dict helpers of `peft` look for them on the model."""
    if not hasattr(encoder, "peft_config"):
        encoder.peft_config = {}
    configs: dict[str, Any] = encoder.peft_config
    return configs
