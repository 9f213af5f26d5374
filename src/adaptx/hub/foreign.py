"""Takes in an adapter that AdapterHub's or PEFT's own tools made: checked, loaded once, written again as ours.

Only its config (as data, by allow-list) and its safetensors are read. It is right when everything it holds arrived on
the backbone unchanged: what the encoder gives back is compared tensor by tensor with what was in the file.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adaptx import atomic, backbones, cards, methods, provenance, store
from adaptx.backbones import Backbone
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.hub import checks, formats, tensors
from adaptx.hub import heads as foreign_heads
from adaptx.hub.formats import ADAPTERHUB, PEFT, misfit
from adaptx.manifest import FileEntry, Manifest, TensorEntry
from adaptx.recipe import BackboneRef, Optimiser, Recipe, TaskSpec
from adaptx.registry import MethodSpec, Task
from adaptx.stack import adapter_name
from adaptx.store import Stored

if TYPE_CHECKING:
    import torch

CONFIG, HEAD_CONFIG, HEAD = "adapter_config.json", "head_config.json", "model_head.safetensors"
THEIRS = "Give a folder that save_adapter or save_pretrained wrote; what adaptx wrote comes with `adaptx hub pull`."
Role = Literal["language", "intermediate", "target", "diagnostic"]


@dataclass(frozen=True)
class Foreign:
    """A foreign adapter as read: normalised config, encoder tensors by bare name, head tensors, where it is from."""

    format: str
    config: dict[str, Any]
    state: "dict[str, torch.Tensor]"
    head: "dict[str, torch.Tensor]"
    head_config: Any
    origin: str
    sha256: str


def import_foreign(
    settings: Settings,
    source: str,
    lang: str,
    task: str,
    *,
    role: Role | None = None,
    labels: Sequence[str] = (),
    revision: str | None = None,
) -> Stored:
    """The adapter in the folder (or Hub repository ORG/NAME) `source`, put into the store as `lang`/`task`.

    `labels`: of its head, in the order of the outputs, where its files do not say. `role`: of the adapter, by default
    the task's first. Raises AX011, AX020, AX021 (unsafe, pickled), AX060, AX085 (does not fit the backbone).
    """
    settings.registry.check_language(lang)
    known = settings.registry.task(task)
    files = backbones.locate(settings)
    backbone = backbones.load(files)
    with tempfile.TemporaryDirectory() as temporary:
        folder, origin = _located(settings, source, revision, Path(temporary))
        foreign = _read(folder, origin, backbones.MODEL_TYPES[backbone.config.model_type][0])
    spec = settings.registry.method(formats.method_of(foreign.config))
    found = _head(foreign, known, tuple(labels))
    head = _head_state(foreign, known, found, backbone) if isinstance(found, foreign_heads.Head) else {}
    recipe = Recipe(
        role=role or known.roles[0],
        lang=lang,
        task=known.id,
        tasks=(_spec(known),) if head else (),
        backbone=BackboneRef(
            name=files.name, id=files.id, revision=files.revision, weights_sha256=files.weights_sha256
        ),
        method=formats.method_of(foreign.config),
        family=spec.family,
        hyper={
            **formats.hyper_of(foreign.config),
            "weights_sha256": foreign.sha256,
            **({"labels": list(found.labels)} if head and isinstance(found, foreign_heads.Head) else {}),
        },
        data=(),
        optimiser=Optimiser(lr=0.0, epochs=0.0, batch_tokens=0),
        precision="fp32",
        seed=0,
    )
    notes = (f"imported without a head: {found}",) if isinstance(found, str) else ()
    done = store.get(settings.store, recipe)
    if done is not None and done.manifest.notes == notes:
        return done
    return _write(settings, recipe, spec, foreign, found, head, backbone, notes)


def _write(
    settings: Settings,
    recipe: Recipe,
    spec: MethodSpec,
    foreign: Foreign,
    found: "foreign_heads.Head | str",
    head: "dict[str, torch.Tensor]",
    backbone: Backbone,
    notes: tuple[str, ...],
) -> Stored:
    def fill(stage: Path) -> None:
        from safetensors.torch import save_file

        _rewrite(foreign, spec, adapter_name(recipe.lang, recipe.task), backbone, stage / "adapter")
        if head:
            save_file(head, stage / "head.safetensors")

    def describe(files: tuple[FileEntry, ...], held: tuple[TensorEntry, ...]) -> Manifest:
        return Manifest(
            run=recipe.run_id,
            ref=recipe.ref,
            recipe=recipe,
            labels={recipe.task: found.labels} if isinstance(found, foreign_heads.Head) else {},
            files=files,
            tensors=held,
            versions=provenance.versions(),
            hardware={"device": "unknown", "cpu": "unknown"},
            cost={
                "seconds": {},
                "steps": 0,
                "tokens": 0,
                "tokens_per_s": 0.0,
                "trainable_parameters": sum(
                    t.numel() for t in {formats.shared_name(k): v for k, v in foreign.state.items()}.values()
                ),
                "head_parameters": sum(t.numel() for t in head.values()),
            },
            metrics={},
            notes=notes,
            origin=foreign.origin,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    stored = store.write(settings.store, recipe, fill, describe, cards.render)
    return checks.check_folder(stored.folder)


def _spec(task: Task) -> TaskSpec:
    return TaskSpec(
        id=task.id, kind=task.kind, labels=task.labels, max_tokens=task.train.max_tokens, options=task.options
    )


def _located(settings: Settings, source: str, revision: str | None, into: Path) -> tuple[Path, str]:
    """The folder with the adapter's files, and in words where it is from. Raises AX011, AX060, AX080."""
    if Path(source).expanduser().is_dir():
        folder = Path(source).expanduser().resolve()
        return folder, f"the folder {folder.name}"
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise AdaptxError("AX011", source, "neither a folder nor a Hub id (ORG/NAME).")
    from adaptx.hub.hf import HuggingFace

    org, name = source.split("/")
    hub = HuggingFace.of(org, name, settings.cache, revision, private=True)
    for path in hub.tree():
        if path in (CONFIG, HEAD_CONFIG, HEAD, *formats.WEIGHTS.values()):
            hub.fetch(path, into / path, hub.tree()[path])
        elif "/" not in path and path.endswith(store.PICKLES):
            (into / path).touch()  # its name is enough to refuse it, where there is nothing better
    return into, f"the Hub repository {source} at {hub.revision}"


def _read(folder: Path, origin: str, prefix: str) -> Foreign:
    """The adapter's config and tensors after every check that needs no library. Raises AX020, AX021, AX085."""
    if not (folder / CONFIG).exists():
        raise misfit(folder.name, f"it has no {CONFIG}.", THEIRS)
    config = _json(folder / CONFIG)
    kind = formats.format_of(config)
    weights = folder / formats.WEIGHTS[kind]
    if not weights.exists():
        pickles = sorted(p.name for p in folder.iterdir() if p.name.endswith(store.PICKLES))
        if pickles:
            raise checks.pickled(pickles[0])
        raise misfit(folder.name, f"it has no {weights.name}.", THEIRS)
    value = formats.normalised(config, prefix)
    state: dict[str, torch.Tensor] = {}
    head: dict[str, torch.Tensor] = {}
    for name, tensor in _tensors(weights).items():
        bare = formats.encoder_name(name, prefix)
        (head if formats.is_head(bare) else state)[bare] = tensor
    head_config = None
    if kind == ADAPTERHUB and (folder / HEAD_CONFIG).exists() and (folder / HEAD).exists():
        head_config, head = _json(folder / HEAD_CONFIG), _tensors(folder / HEAD)
    digest = atomic.sha256(weights)
    return Foreign(kind, value, state, head, head_config, f"{origin} ({kind}, weights {digest[:16]})", digest)


def _json(path: Path) -> Any:
    checks.check_plain(path, path.name)
    return tensors.loads(checks.bounded(path, checks.MAX_TEXT, path.name), path.name)


def _tensors(path: Path) -> "dict[str, torch.Tensor]":
    checks.check_plain(path, path.name)
    tensors.check_finite(path, path.name)
    from safetensors.torch import load_file

    return {k: v.float() for k, v in load_file(path).items()}


def _rewrite(foreign: Foreign, spec: MethodSpec, name: str, backbone: Backbone, target: Path) -> None:
    """Load the foreign adapter on the backbone and save it from there; AX085 unless the same tensors come back."""
    from safetensors.torch import load_file, save_file

    encoder = backbone.encoder("fp32", "cpu")
    weights = formats.WEIGHTS[foreign.format]
    wrapper = "base_model.model." if foreign.format == PEFT else ""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / CONFIG).write_text(json.dumps(foreign.config))
        save_file({wrapper + k: v.contiguous() for k, v in foreign.state.items()}, folder / weights, {"format": "pt"})
        try:
            methods.load(encoder, spec, name, folder)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            why = " ".join(str(error).split())[:200]
            raise misfit(foreign.origin, f"the library refused it on {backbone.files.name}: {why}.") from None
    shutil.rmtree(target, ignore_errors=True)
    methods.save(encoder, spec, name, target, backbone.files.id)
    theirs = str(foreign.config.get("name", name))
    before = {k.replace(f".{theirs}.", f".{name}."): v for k, v in foreign.state.items()}
    after = {k.removeprefix(wrapper): v for k, v in load_file(target / weights).items()}
    held = {formats.shared_name(k) for k in before}
    wrong = [k for k, v in before.items() if k not in after or not v.equal(after[k])]
    wrong += [k for k in after if formats.shared_name(k) not in held]
    if wrong:
        raise misfit(
            foreign.origin,
            f"{len(wrong)} tensors do not fit {backbone.files.name}, first {sorted(wrong)[0]}.",
        )


def _head(foreign: Foreign, task: Task, labels: tuple[str, ...]) -> "foreign_heads.Head | str":
    if not foreign.head:
        return "it has none"
    if foreign.format == ADAPTERHUB:
        found = foreign_heads.of_adapterhub(foreign.head_config, list(foreign.head), task.kind)
    else:
        found = foreign_heads.of_transformers(list(foreign.head), task.kind, labels)
    if isinstance(found, foreign_heads.Head) and task.labels and set(found.labels) != set(task.labels):
        return f"its labels are {', '.join(found.labels)}, those of {task.id} {', '.join(task.labels)}"
    return found


def _head_state(
    foreign: Foreign, task: Task, found: "foreign_heads.Head", backbone: Backbone
) -> "dict[str, torch.Tensor]":
    """The head under our names. Raises AX085 where a shape is not that of the task's head on this backbone."""
    from adaptx.tasks import kind_of

    wanted = kind_of(task).head(backbone, found.labels, task).state_dict()
    state = {ours: foreign.head[theirs] for theirs, ours in found.names.items()}
    for name, tensor in state.items():
        if name not in wanted or wanted[name].shape != tensor.shape:
            raise misfit(f"head {name}", f"its shape {tuple(tensor.shape)} does not fit {len(found.labels)} labels.")
    return {f"{task.id}.{k}": v.contiguous() for k, v in state.items()}
