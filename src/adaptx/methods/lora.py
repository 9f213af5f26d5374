"""Low-rank and scaling adapters through Hugging Face `peft`: the only importer of it. Knows no task and no store.

LoRA, DoRA and QLoRA share `peft.LoraConfig`; IA3 has a config of its own. With `quantise: nf4` the frozen linear layers
are kept in 4 bits (bitsandbytes), which the adapter's own folder does not say: the registry's hyper-parameters do.
"""

from pathlib import Path
from typing import Any

import peft
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from adaptx.backbones import LINEARS
from adaptx.errors import AdaptxError

WEIGHTS = "adapter_model.safetensors"
ALL_LINEAR = [name.removeprefix("attention.self.") for name in LINEARS]  # `peft` takes them for ends of names
OURS = ("lora_", "ia3_")


def attach(encoder: PreTrainedModel, name: str, hyper: dict[str, Any]) -> None:
    """`hyper`: fields of `peft.LoraConfig` (all linear layers unless `target_modules` says otherwise) or, with
    `config: ia3`, of `peft.IA3Config`; `quantise: nf4` for 4-bit frozen weights."""
    fields = {k: v for k, v in hyper.items() if k not in ("config", "quantise")}
    _quantise(encoder, hyper)
    if hyper.get("config") == "ia3":
        config: peft.PeftConfig = peft.IA3Config(**fields)
    else:
        config = peft.LoraConfig(**{"target_modules": ALL_LINEAR, **fields})
    _inject(encoder, name, config)


def load(encoder: PreTrainedModel, name: str, folder: Path, hyper: dict[str, Any]) -> None:
    """The folder's tensors must be verified beforehand. `hyper` says whether the frozen weights are quantised."""
    _quantise(encoder, hyper)
    config = peft.PeftConfig.from_pretrained(str(folder))
    config.inference_mode = False
    _inject(encoder, name, config)
    state = {k.removeprefix("base_model.model."): v for k, v in load_file(folder / WEIGHTS).items()}
    peft.set_peft_model_state_dict(encoder, state, adapter_name=name)


def _inject(encoder: PreTrainedModel, name: str, config: peft.PeftConfig) -> None:
    peft.inject_adapter_in_model(config, encoder, name)
    _configs(encoder)[name] = config
    for parameter in _own(encoder, name):
        parameter.data = parameter.data.float()  # injected in the frozen weights' dtype, trained in float32


def _own(encoder: PreTrainedModel, name: str) -> list[nn.Parameter]:
    return [
        p for key, p in encoder.named_parameters() if f".{name}." in f".{key}." and any(part in key for part in OURS)
    ]


def _quantise(encoder: PreTrainedModel, hyper: dict[str, Any]) -> None:
    """Replace the encoder's linear layers by 4-bit ones (Dettmers et al. 2023, section 3), once."""
    if hyper.get("quantise") != "nf4" or getattr(encoder, "is_loaded_in_4bit", False):
        return
    if any(isinstance(module, BaseTunerLayer) for module in encoder.modules()):
        raise AdaptxError("AX051", "qlora", "its 4-bit weights cannot be put under adapters of full-precision weights.")
    import bitsandbytes as bnb

    device = encoder.embeddings.word_embeddings.weight.device
    for parent in list(encoder.encoder.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                small = bnb.nn.Linear4bit(
                    child.in_features, child.out_features, compute_dtype=child.weight.dtype, quant_type="nf4"
                )
                # In evaluation bitsandbytes would repack the weights for a bf16 kernel: other numbers than in training.
                small.support_avx512bf16_for_cpu = False
                small.weight = bnb.nn.Params4bit(
                    child.weight.detach().float().cpu(), requires_grad=False, quant_type="nf4"
                )
                small.bias = nn.Parameter(child.bias.detach().clone(), requires_grad=False)
                setattr(parent, name, small.to(device))
    encoder.is_loaded_in_4bit = True


def activate(encoder: PreTrainedModel, names: list[str]) -> None:
    """Several names add up: each contributes its own low-rank update of the frozen weight."""
    for module in encoder.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_adapter(names)


def unfreeze(encoder: PreTrainedModel, name: str) -> None:
    """`set_adapter` makes everything it activates trainable, so freeze again and free `name` alone."""
    encoder.requires_grad_(False)
    for parameter in _own(encoder, name):
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
