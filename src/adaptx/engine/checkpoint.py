"""Training state on disk: written whole or not at all, safetensors and JSON only. Knows no task and no method.

A checkpoint holds everything that the next step depends on: trainable tensors, optimiser moments, random state, data
position and the best weights so far. A folder counts when its `state.json` names the sha256 of its tensors.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from adaptx import atomic
from adaptx.errors import AdaptxError

Tensors = dict[str, torch.Tensor]


def save(folder: Path, tensors: dict[str, Tensors], state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder` by groups of `tensors` and a JSON `state`."""
    flat = {f"{group}/{name}": t.detach().contiguous().cpu() for group, ts in tensors.items() for name, t in ts.items()}
    with atomic.staged_folder(folder) as stage:
        save_file(flat, stage / "tensors.safetensors")
        digest = atomic.sha256(stage / "tensors.safetensors")
        (stage / "state.json").write_text(json.dumps({"sha256": digest, **state}))


def exists(folder: Path) -> bool:
    """Whether a finished checkpoint lies there."""
    return (folder / "state.json").is_file()


def load(folder: Path) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """The groups of tensors and the state. Raises AX041 for a checkpoint that is not what was written."""
    try:
        state = json.loads((folder / "state.json").read_text())
        digest = atomic.sha256(folder / "tensors.safetensors")
    except (OSError, ValueError) as error:
        raise AdaptxError("AX041", folder, f"it cannot be read ({error}).") from None
    if not isinstance(state, dict) or digest != state.pop("sha256", None):
        raise AdaptxError("AX041", folder, "its tensors are not the ones that were written.")
    groups: dict[str, Tensors] = {}
    for name, tensor in load_file(folder / "tensors.safetensors").items():
        group, _, key = name.partition("/")
        groups.setdefault(group, {})[key] = tensor
    return groups, state
