"""What a finished adapter folder says about itself. Strict on reading; knows no tensors and no training."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from adaptx.errors import AdaptxError
from adaptx.recipe import Recipe
from adaptx.registry import Model

FILE = "manifest.json"


class TensorEntry(Model):
    """One tensor: file in the folder, name, shape, dtype, sha256 of its bytes."""

    file: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    sha256: str


class FileEntry(Model):
    """One file of the folder, manifest and card excepted."""

    path: str
    bytes: int
    sha256: str


class Manifest(Model):
    """`cost`: seconds by phase, tokens, tokens per second, parameters, memory. `metrics`: split -> metric -> score
    (several tasks: TASK/SPLIT -> metric -> score). `baseline`: likewise, what a constant answer scores there;
    for masked language modelling, which has none, what the model did before it was trained."""

    schema_version: Literal[1] = 1
    run: str
    ref: str
    recipe: Recipe
    labels: dict[str, tuple[str, ...]]  # by task id
    files: tuple[FileEntry, ...]
    tensors: tuple[TensorEntry, ...]
    versions: dict[str, str]
    hardware: dict[str, Any]
    cost: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    baseline: dict[str, dict[str, float]] = {}
    notes: tuple[str, ...] = ()
    origin: str = ""  # where imported weights came from; empty for what adaptx trained
    created: str

    @property
    def licences(self) -> tuple[str, ...]:
        """Distinct licences of the training data, sorted."""
        return tuple(sorted({d.licence for d in self.recipe.data if d.split != "test"}))


def read(folder: Path) -> Manifest:
    """The manifest in `folder`. Raises AX023 where it is missing, malformed or not about its own recipe."""
    try:
        manifest = Manifest.model_validate(json.loads((folder / FILE).read_text("utf-8")))
    except FileNotFoundError:
        raise AdaptxError("AX023", folder.name, f"it has no {FILE}.") from None
    except (ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise AdaptxError("AX023", folder.name, f"{FILE} cannot be read: {first}.") from None
    if manifest.run != manifest.recipe.run_id:
        raise AdaptxError("AX023", folder.name, "the run id is not the hash of the recipe.")
    if manifest.ref != manifest.recipe.ref:
        raise AdaptxError("AX023", folder.name, "its reference is not the recipe's.")
    return manifest
