"""Adapter folders of AdapterHub and PEFT read as data: which fields matter, which are refused, what method it is.

Pure rules on parsed JSON and tensor names; neither library is imported.
"""

import re
from typing import Any

from adaptx.errors import AdaptxError
from adaptx.hub import configs

PEFT, ADAPTERHUB = "PEFT", "AdapterHub"
WEIGHTS = {PEFT: "adapter_model.safetensors", ADAPTERHUB: "adapter.safetensors"}
MODULE = re.compile(r"[A-Za-z0-9_.]{1,128}")
# Fields of peft's configs that are kept; those in IGNORED change nothing once trained; any other one must be empty.
KEPT = {
    "LORA": ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out"),
    "IA3": ("feedforward_modules", "fan_in_fan_out"),
}
COMMON = ("peft_type", "target_modules", "layers_to_transform", "bias")
IGNORED = (
    *("auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "task_type", "peft_version"),
    *("lora_dropout", "megatron_core", "qalora_group_size", "init_ia3_weights", "modules_to_save", "exclude_modules"),
)
HARMLESS_INIT = (True, False, None, "gaussian", "orthogonal", "default")
ARCHITECTURES = (None, "prefix_tuning")
PREFIX_POOL = re.compile(r"encoder\.layer\.\d+\.attention\.self\.prefix_tuning\.pool\.")


def misfit(given: object, why: str, fix: str = "") -> AdaptxError:
    """AX085."""
    return AdaptxError("AX085", given, why, fix)


def format_of(config: Any) -> str:
    """Which library wrote an adapter_config.json. Raises AX085 for neither."""
    if isinstance(config, dict) and isinstance(config.get("peft_type"), str):
        return PEFT
    if isinstance(config, dict) and isinstance(config.get("config"), dict):
        return ADAPTERHUB
    raise misfit("adapter_config.json", "neither PEFT's nor AdapterHub's.")


def normalised(config: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The config with the fields that matter, safe to give to its library; module names lose the model's `prefix`.

    Raises AX085 for what is not built here, AX021 where a field names code.
    """
    value = _peft(config, prefix) if format_of(config) == PEFT else _adapterhub(config)
    configs.check(value, "adapter_config.json")
    return value


def _peft(config: dict[str, Any], prefix: str) -> dict[str, Any]:
    kind = config["peft_type"]
    if kind not in KEPT:
        raise misfit(f"peft_type {kind!r}", f"taken over are {', '.join(KEPT)}.")
    kept = (*KEPT[kind], *COMMON)
    for key, item in config.items():
        if key == "init_lora_weights":
            if item not in HARMLESS_INIT:
                raise misfit(
                    f"init_lora_weights {item!r}",
                    "it changed the backbone's own weights.",
                    "Save it again with PEFT's path_initial_model_for_weight_conversion.",
                )
        elif key not in (*kept, *IGNORED) and item:
            raise misfit(f"{key} = {str(item)[:60]}", "this setting is not built here.")
    if config.get("bias", "none") != "none":
        raise misfit(f"bias = {config['bias']!r}", "trained biases of the backbone are not part of an adapter here.")
    modules = config.get("target_modules")
    names = [modules] if isinstance(modules, str) else modules
    if not isinstance(names, list) or not all(isinstance(n, str) and MODULE.fullmatch(n) for n in names):
        raise misfit("target_modules", "expected a list of module names.")
    out = {k: config[k] for k in kept if k in config}
    for pattern in ("rank_pattern", "alpha_pattern"):
        for name in out.get(pattern) or {}:
            if not MODULE.fullmatch(name):
                raise misfit(f"{pattern} {name[:60]!r}", "expected plain module names.")
    # names of modules that only the model for a task has are not part of the encoder
    out["target_modules"] = sorted(n.removeprefix(prefix) for n in names)
    return out


def _adapterhub(config: dict[str, Any]) -> dict[str, Any]:
    inner = config["config"]
    if inner.get("architecture") not in ARCHITECTURES:
        raise misfit(f"architecture {inner['architecture']!r}", "bottleneck and prefix-tuning adapters are taken over.")
    top = ("hidden_size", "model_class", "model_name", "model_type", "name", "version")
    out = {k: config[k] for k in top if k in config}
    out["model_name"] = ""  # where it was trained; the import says on what it is used
    return {**out, "config": inner}


def method_of(config: dict[str, Any]) -> str:
    """The id of the method that the config describes."""
    if "peft_type" in config:
        return "ia3" if config["peft_type"] == "IA3" else "dora" if config.get("use_dora") else "lora"
    inner = config["config"]
    if inner.get("architecture") == "prefix_tuning":
        return "prefix"
    if inner.get("is_parallel"):
        return "parallel"
    return "houlsby" if inner.get("mh_adapter") and inner.get("output_adapter") else "pfeiffer"


def hyper_of(config: dict[str, Any]) -> dict[str, Any]:
    """The hyper-parameters that describe the architecture."""
    if "peft_type" in config:
        return {k: v for k, v in config.items() if k in ("r", "lora_alpha", "target_modules", "use_rslora", "use_dora")}
    keys = (
        "reduction_factor",
        "non_linearity",
        "inv_adapter",
        "inv_adapter_reduction_factor",
        "scaling",
        "prefix_length",
    )
    return {k: config["config"][k] for k in keys if config["config"].get(k) is not None}


def encoder_name(name: str, prefix: str) -> str:
    """A tensor's name inside the bare encoder: without PEFT's wrapper and the task model's `prefix`."""
    for start in ("base_model.model.", prefix):
        name = name.removeprefix(start)
    return name


def is_head(name: str) -> bool:
    """Whether a tensor (named inside the bare encoder) belongs to a task's head and not to the encoder."""
    return name.startswith(("classifier.", "score.", "qa_outputs.", "lm_head.", "heads."))


def shared_name(name: str) -> str:
    """One name for a tensor that AdapterHub files under several: every layer refers to the same prefix module.

    A converted file may hold all of its names or just one.
    """
    return PREFIX_POOL.sub("prefix_tuning.", name)
