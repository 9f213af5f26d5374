"""Which JSON files of an adapter folder other libraries may be given. Pure rules on values; imports no such library.

One rule covers what exists and what will be invented: a string can name code, a path or an address, so strings stand
only under keys that are known to hold a plain word. Every other key may hold numbers, booleans, null and nests of them.
"""

import re
from typing import Any

from adaptx.hub.names import BACKBONE, refuse

FIELD = re.compile(r"[A-Za-z0-9_.-]{1,128}")
WORD = re.compile(r"[A-Za-z0-9_.+-]{0,128}")
# AdapterHub's adapter_config.json, PEFT's adapter_config.json, transformers' config.json
WORDS = frozenset(
    (
        *(
            "architecture",
            "composition_mode",
            "attn_matrices",
            "hypercomplex_nonlinearity",
            "init_weights",
            "inv_adapter",
        ),
        *("adapter_names", "model_class", "model_type", "name", "non_linearity", "phm_c_init", "version"),
        *("bias", "exclude_modules", "feedforward_modules", "init_lora_weights", "modules_to_save", "peft_type"),
        *("peft_version", "revision", "target_modules", "task_type"),
        *("architectures", "hidden_act", "position_embedding_type", "dtype", "torch_dtype", "transformers_version"),
    )
)
NAMES = frozenset(("_name_or_path", "base_model_name_or_path", "model_name"))
EXACT = {"megatron_core": "megatron.core"}  # PEFT writes it always and imports what it names
SWITCHES = ("auto_map", "custom_pipeline", "kernel", "remote_code", "attn_implementation", "megatron_config")
FILES = {
    "bottleneck": ("adapter_config.json", "adapter.safetensors"),
    "lora": ("adapter_config.json", "adapter_model.safetensors"),
    "full": ("config.json", "model.safetensors"),
    "fusion": ("adapter_fusion_config.json", "model_adapter_fusion.safetensors"),
}
NAMED = ("adapter_config.json", "adapter_fusion_config.json", "config.json")
MAX_DEPTH = 8
MAX_NUMBER = 10_000_000  # sizes beyond it would only exhaust the memory


def check(value: Any, shown: str) -> None:
    """Raise AX021 where a config names code, a remote attention kernel, a path or an address."""
    if not isinstance(value, dict):
        raise refuse(shown, "expected a JSON object.")
    _walk(value, "", shown, 0)


def _walk(value: Any, key: str, shown: str, depth: int) -> None:
    where = f"{shown} {key}"
    if depth > MAX_DEPTH:
        raise refuse(where, "nested too deeply.")
    if isinstance(value, dict):
        for name, item in value.items():
            if not FIELD.fullmatch(name):  # PEFT reads some of them as patterns
                raise refuse(f"{where} {name[:60]}", "not a plain field name.")
            if item and any(s in name.lower() for s in SWITCHES):
                raise refuse(f"{shown} {name}", "this field makes a library run code that the folder names.")
            _walk(item, name, shown, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _walk(item, key, shown, depth + 1)
    elif isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
        raise refuse(f"{where} = {value}", "not a size that any adapter has.")
    elif isinstance(value, str) and value != EXACT.get(key):
        rule = BACKBONE if key in NAMES and value else WORD
        if key not in WORDS | NAMES or not rule.fullmatch(value) or ".." in value:
            raise refuse(f"{where} = {value[:60]}", "strings stand only under known fields, and are plain words.")
