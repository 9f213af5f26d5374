"""Finished adapters made of random numbers, without torch, and entries that a dishonest hub could hold."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adaptx import backbones, cards, store
from adaptx.config import Settings
from adaptx.hub.backend import content_address
from adaptx.manifest import FileEntry, Manifest, TensorEntry
from adaptx.recipe import BackboneRef, DataRef, Optimiser, Parent, Recipe, TaskSpec, digest_of
from adaptx.refs import Ref
from adaptx.store import Stored

FAMILIES = {"pfeiffer": "bottleneck", "lora": "lora", "full": "full", "probe": "probe"}
WEIGHTS = {"pfeiffer": "adapter.safetensors", "lora": "adapter_model.safetensors", "full": "model.safetensors"}
CONFIGS: dict[str, dict[str, Any]] = {
    "pfeiffer": {"config": {"reduction_factor": 8, "non_linearity": "relu"}, "model_type": "bert", "name": "toy"},
    "lora": {"peft_type": "LORA", "r": 2, "target_modules": ["query"], "auto_mapping": None},
    "full": {"model_type": "bert", "hidden_size": 32, "hidden_act": "gelu"},
}


def recipe(settings: Settings, lang: str, task: str, method: str, **changes: Any) -> Recipe:
    """A recipe for the settings' backbone; `changes` replace fields."""
    files = backbones.locate(settings)
    fields: dict[str, Any] = {
        "role": "intermediate",
        "lang": lang,
        "task": task,
        "tasks": (TaskSpec(id=task, kind="classification", labels=("no", "yes"), max_tokens=32),),
        "backbone": BackboneRef(
            name=files.name, id=files.id, revision=files.revision, weights_sha256=files.weights_sha256
        ),
        "method": method,
        "family": FAMILIES[method],
        "data": (
            DataRef(task=task, split="train", source="hub", id="org/set", revision="a" * 40, licence="MIT", rows=7),
        ),
        "optimiser": Optimiser(lr=0.001, epochs=1, batch_tokens=64),
        "precision": "fp32",
        "seed": 0,
    }
    return Recipe(**{**fields, **changes})


def small(
    settings: Settings,
    lang: str = "sv",
    task: str = "anli",
    method: str = "pfeiffer",
    *,
    created: str = "2026-01-02T03:04:05+00:00",
    noise: int = 0,
    parents: tuple[Parent, ...] = (),
    **changes: Any,
) -> Stored:
    """A finished adapter of a few kilobytes in the store; `noise` changes its weights and not its recipe."""
    from safetensors.numpy import save_file

    made = recipe(settings, lang, task, method, parents=parents, **changes)

    def fill(stage: Path) -> None:
        rng = np.random.default_rng([int(made.run_id[:8], 16), noise])
        (stage / "adapter").mkdir()
        if method in WEIGHTS:
            weights = {f"encoder.{i}.weight": rng.normal(size=(16, 16)).astype(np.float32) for i in range(2)}
            save_file(weights, stage / "adapter" / WEIGHTS[method], {"format": "pt"})
            name = "config.json" if method == "full" else "adapter_config.json"
            (stage / "adapter" / name).write_text(json.dumps(CONFIGS[method], indent=2))
        save_file({f"{task}.out.bias": rng.normal(size=2).astype(np.float32)}, stage / "head.safetensors")

    def describe(files: tuple[FileEntry, ...], tensors: tuple[TensorEntry, ...]) -> Manifest:
        return Manifest(
            run=made.run_id,
            ref=made.ref,
            recipe=made,
            labels={task: ("no", "yes")},
            files=files,
            tensors=tensors,
            versions={"python": "3"},
            hardware={"cpu": "toy"},
            cost={"seconds": {"train": 2.0}, "steps": 3, "trainable_parameters": 512, "tokens_per_s": 9.0},
            metrics={"test": {"accuracy": 0.5}},
            created=created,
        )

    return store.write(settings.store, made, fill, describe, cards.render)


def ref_of(stored: Stored) -> Ref:
    """The reference that names exactly this run."""
    return Ref(stored.recipe.lang, stored.recipe.task, stored.recipe.method, stored.manifest.run)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


Edit = Callable[[Path], object]


def redescribed(folder: Path, tensors: bool = True) -> None:
    """Make the manifest agree with what the folder holds now, as a liar would."""
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in ("manifest.json", "README.md")]
    raw["files"] = [file_entry(folder, p) for p in files]
    if tensors:
        held = {f["path"] for f in raw["files"]}
        raw["tensors"] = [t for t in raw["tensors"] if t["file"] in held]
    path.write_text(json.dumps(raw, indent=2))


def file_entry(folder: Path, path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    shown = path.relative_to(folder).as_posix()
    return {"path": shown, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def plant(
    hub: Path,
    folder: Path,
    *,
    change: Callable[[dict[str, Any]], object] = lambda raw: None,
    path: str | None = None,
    blobs: Mapping[str, bytes] | None = None,
) -> Path:
    """Put whatever `folder` holds on the folder hub `hub` with an entry that is true to itself, without any check.

    `change` edits the entry before it is hashed; `path` puts it elsewhere; `blobs` replaces contents by file name.
    """
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    raw = {
        "schema_version": 1,
        "manifest": json.loads((folder / "manifest.json").read_text()),
        "files": [file_entry(folder, p) for p in files],
        "scores": [],
    }
    for file in files:
        shown = file.relative_to(folder).as_posix()
        data = (blobs or {}).get(shown, file.read_bytes())
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        target = hub / content_address(shown, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    change(raw)
    version = digest_of(raw)
    r = raw["manifest"]["recipe"]
    place = f"{r['backbone']['name']}/{r['lang']}/{r['task']}/{r['method']}/{raw['manifest']['run']}.{version[:16]}"
    target = hub / (path or f"entries/{place}.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({**raw, "pushed": "2026-01-02T03:04:05.000000+00:00"}))
    return target


def copied(stored: Stored, target: Path, edit: Edit = lambda folder: None) -> Path:
    """A copy of an adapter's folder at `target`, edited."""
    shutil.copytree(stored.folder, target)
    edit(target)
    return target
