"""Writes an adapter as a plain transformers checkpoint: low-rank and scaling adapters merged into the weights.

The exported folder needs neither adaptx nor an adapter library. Where transformers has a model with a head like the
adapter's, it is that model, head and labels included; else the encoder alone.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptx import atomic, backbones, store
from adaptx.backbones import Backbone
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.hub import heads
from adaptx.hub.upload import below
from adaptx.refs import Ref
from adaptx.stack import Stack, assemble
from adaptx.store import Stored

if TYPE_CHECKING:
    import torch

MERGED = ("lora", "full")
NAMES = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
ROLES = {"start": ("bos_token", "cls_token"), "end": ("eos_token", "sep_token")}


def export_merged(settings: Settings, ref: Ref, out: Path, allow_mismatch: bool = False) -> Path:
    """Write config.json, model.safetensors, tokenizer.json and tokenizer_config.json to the new folder `out`.

    `AutoModel.from_pretrained(out)` gives the hidden states of the backbone with the adapter (and those below it) to
    1e-5 in float32; with a head, `AutoModelForTokenClassification` and its like give its logits. Raises AX051 for
    methods that do not merge, AX070 where `out` is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AdaptxError("AX070", out, "the target exists and is not an empty folder.")
    files = backbones.locate(settings)
    stored = store.find(settings.store, ref, None if allow_mismatch else files.name)
    stack = Stack((*below(settings.store, stored), stored))
    spec = settings.registry.method(stored.recipe.method)
    if stack.family not in MERGED or spec.hyper.get("quantise"):
        why = "is trained on 4-bit weights" if spec.hyper.get("quantise") else "does not merge into the weights"
        raise AdaptxError(
            "AX051", stored.ref, f"{stored.recipe.method} {why}.", "lora, dora, ia3 and full can be exported merged."
        )
    backbone = backbones.load(files)
    state = merged_state(stack, backbone, settings, allow_mismatch)
    state, fields = with_head(stored, backbone, state)
    with atomic.staged_folder(out) as stage:
        write_checkpoint(backbone, state, fields, stage)
    return out


def merged_state(
    stack: Stack, backbone: Backbone, settings: Settings, allow_mismatch: bool = False
) -> "dict[str, torch.Tensor]":
    """The encoder's float32 weights with the stack inside them; the shared backbone stays as it is."""
    encoder = assemble(stack, backbone, settings.registry, "fp32", "cpu", allow_mismatch)
    for module in encoder.modules():
        layer: Any = module
        if hasattr(layer, "merge") and hasattr(layer, "base_layer"):
            layer.merge(safe_merge=True)  # on a copy: the frozen weights are shared with other encoders
    state = {
        name.replace(".base_layer.", "."): tensor.detach().contiguous()
        for name, tensor in encoder.state_dict().items()
        if not any(part in name for part in (".lora_", ".ia3_"))
    }
    if state.keys() != backbone.state.keys():
        odd = sorted(state.keys() ^ backbone.state.keys())[0]
        raise AdaptxError("AX051", stack, f"merging left the tensor {odd} over.")
    return state


def with_head(
    stored: Stored, backbone: Backbone, state: "dict[str, torch.Tensor]"
) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
    """The tensors of transformers' model for the adapter's task, and what its config says besides the encoder's.

    Those of the encoder alone where the adapter has no head, several, or one that transformers' models do not have.
    """
    from safetensors.torch import load_file

    name, path, tasks = NAMES[backbone.config.model_type], stored.folder / "head.safetensors", stored.recipe.tasks
    if len(tasks) != 1 or tasks[0].kind not in heads.CLASSES or not path.exists():
        return state, {"architectures": [f"{name}Model"]}
    task, prefix = tasks[0], backbones.MODEL_TYPES[backbone.config.model_type][0]
    stems = heads.in_transformers(task.kind, prefix)
    head = {}
    for key, tensor in load_file(path).items():
        stem, _, what = key.removeprefix(f"{task.id}.").rpartition(".")
        head[f"{stems[stem]}.{what}"] = tensor
    labels = stored.manifest.labels.get(task.id, ())
    named = {"id2label": {str(i): x for i, x in enumerate(labels)}, "label2id": {x: i for i, x in enumerate(labels)}}
    fields = {"architectures": [name + heads.CLASSES[task.kind]], **(named if labels else {})}
    return {**{prefix + k: v for k, v in state.items()}, **head}, fields


def write_checkpoint(
    backbone: Backbone, state: "dict[str, torch.Tensor]", fields: dict[str, Any], folder: Path
) -> None:
    """Write what `AutoModel` and `AutoTokenizer` read; `fields` are added to the encoder's config."""
    from safetensors.torch import save_file

    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config = {**backbone.config.to_dict(), **fields, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(backbone.files.folder / "tokenizer.json", folder / "tokenizer.json")
    tokens = {
        name: backbone.tokenizer.id_to_token(number)
        for role, number in backbone.special.items()
        for name in ROLES.get(role, (f"{role}_token",))
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": backbone.max_tokens, **tokens}, indent=2
        )
        + "\n"
    )
