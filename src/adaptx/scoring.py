"""Zero-shot scores of a stack on a language: predictions, statistics, intervals, kept beside each other on disk.

Knows how one (stack, task, language) cell is scored; which cells make a table is `table`'s business.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptx import atomic, backbones, trimmed
from adaptx.backbones import Backbone, BackboneFiles
from adaptx.config import Settings
from adaptx.data import sources
from adaptx.data.examples import Dataset, ParallelExample
from adaptx.errors import AdaptxError
from adaptx.jobs import loaded
from adaptx.metrics import METRICS
from adaptx.recipe import digest_of
from adaptx.registry import Task
from adaptx.scores import score_with_interval
from adaptx.stack import Stack, assemble, check_backbone, packable
from adaptx.store import Stored

if TYPE_CHECKING:
    from adaptx.engine.model import Model as EngineModel

EVALUATION_TOKENS = 4096


@dataclass(frozen=True)
class Cell:
    """Scores of one stack on one test set.

    `metrics`: name -> value in 0..1, the leading one first; `intervals`: 95 % bootstrap over examples; `stats`:
    sufficient statistics [n, k] of the leading metric, row by row comparable between systems; `extra`: what else a
    task reports (retrieval: the layer sweep); `note`: how the test set differs from XTREME-R's.
    """

    task: str
    lang: str
    n: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    stats: np.ndarray[Any, Any]
    extra: dict[str, Any]
    note: str
    path: Path

    @property
    def leading(self) -> str:
        """The metric that rankings and deltas use."""
        return next(iter(self.metrics))


def cell(settings: Settings, stack: Stack, task: Task, lang: str, precision: str, allow_mismatch: bool = False) -> Cell:
    """Score `stack` on `lang`'s test set of `task`, or find the score of exactly this in the store.

    The stack's last adapter brings the head; retrieval needs none. Raises AX014 without test data, AX022, AX051.
    """
    data = loaded(settings, task.id, lang, "test")
    files = backbones.locate(settings)
    for stored in stack.adapters:
        check_backbone(stored, files, allow_mismatch)
    key: dict[str, Any] = {
        "stack": [s.manifest.run for s in stack.adapters],
        "backbone": files.weights_sha256,
        "task": task.id,
        "lang": lang,
        "data": [[t.source, t.id, t.revision, t.rows] for t in data.tables],
        "precision": precision,
        "reading": sources.fingerprint(sources.pick(settings, task, lang), ["test"]),
        "metrics": list(task.metrics),
    }
    if task.kind == "retrieval":
        key["layer"] = retrieval_layer(settings, files)
    digest = digest_of(key)
    path = settings.store / "scores" / files.name.replace("/", "--") / lang / task.id / f"{digest[:32]}.json"
    if not path.is_file():
        backbone = backbones.load(files)
        value = _score(settings, backbone, stack, task, data, precision, allow_mismatch)
        atomic.write_json(path, {"key": key, "system": str(stack), "note": data.note, **value})
    return _read(path, task.id, lang)


def _read(path: Path, task: str, lang: str) -> Cell:
    try:
        raw = json.loads(path.read_text("utf-8"))
        return Cell(
            task,
            lang,
            raw["n"],
            raw["metrics"],
            {k: (v[0], v[1]) for k, v in raw["intervals"].items()},
            np.array(raw["stats"]),
            raw["extra"],
            raw["note"],
            path,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise AdaptxError(
            "AX020",
            path.name,
            f"a score file in the store cannot be read ({error}).",
            "Remove it; the score is computed again.",
        ) from None


def _score(
    settings: Settings,
    backbone: Backbone,
    stack: Stack,
    task: Task,
    data: Dataset,
    precision: str,
    allow_mismatch: bool,
) -> dict[str, Any]:
    if task.kind == "retrieval":
        return _retrieval(settings, backbone, stack, task, data, precision, allow_mismatch)
    if not stack.adapters:
        raise AdaptxError("AX051", task.id, "a bare backbone has no head for this task.")
    predictions = predict(settings, backbone, stack, task, data.examples, precision, allow_mismatch)
    from adaptx.tasks import kind_of

    references = kind_of(task).references(data.examples)
    scores = [score_with_interval(key, predictions, references) for key in task.metrics]
    return {
        "n": len(data.examples),
        "metrics": {s.name: s.value for s in scores},
        "intervals": {s.name: s.ci95 for s in scores},
        "stats": scores[0].stats.tolist(),
        "extra": {},
        "predictions": [[e.id, p] for e, p in zip(data.examples, predictions, strict=True)],
    }


def head_of(stored: Stored, backbone: Backbone, task: Task) -> Any:
    """The task's head saved in an adapter folder. Raises AX020 where its tensors are not this task's."""
    from safetensors.torch import load_file

    from adaptx.tasks import kind_of

    head = kind_of(task).head(backbone, stored.manifest.labels[task.id], task)
    try:
        saved = load_file(stored.folder / "head.safetensors")
        prefix = f"{task.id}."
        head.load_state_dict({k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)})
    except (RuntimeError, OSError) as error:
        raise AdaptxError("AX020", f"{stored.ref} head.safetensors", f"it does not fit: {error}.") from None
    return head


def model_for(
    settings: Settings,
    backbone: Backbone,
    stack: Stack,
    precision: str,
    heads: dict[str, Any] | None = None,
    allow_mismatch: bool = False,
) -> "EngineModel":
    """A model that runs the stack with `heads` by task id on the settings' device."""
    import torch

    from adaptx.engine.model import Model

    device = backbones.pick_device(settings.device)
    encoder = assemble(stack, backbone, settings.registry, precision, device, allow_mismatch)
    modules = torch.nn.ModuleDict(heads or {}).to(device)
    packed = packable(stack, settings.registry)
    return Model(encoder, modules, backbone.first_position, torch.device(device), precision, packed)


def predict(
    settings: Settings,
    backbone: Backbone,
    stack: Stack,
    task: Task,
    examples: Sequence[Any],
    precision: str,
    allow_mismatch: bool = False,
) -> list[Any]:
    """One prediction per example, in order, by the head of the stack's last adapter. Raises AX051 for another task."""
    from adaptx.data.tokenize import Text
    from adaptx.engine.model import summarise
    from adaptx.tasks import kind_of

    last = stack.adapters[-1]
    spec = last.recipe.spec(task.id)
    if spec is None or spec.kind != task.kind:
        raise AdaptxError("AX051", f"{stack} on {task.id}", f"its head is made for {last.recipe.task}.")
    kind, labels = kind_of(task), last.manifest.labels[task.id]
    head = head_of(last, backbone, task)
    model = model_for(settings, backbone, stack, precision, {task.id: head}, allow_mismatch)
    text = Text.of(backbone, spec.max_tokens)
    features = kind.refresh(kind.features(examples, text, labels, task), text, 0, -1)
    summary = summarise(model, task.id, features, kind.summary, EVALUATION_TOKENS)
    return kind.decode(summary, features, examples, labels, task)


def retrieval_layer(settings: Settings, files: BackboneFiles) -> int:
    """The layer that sentence vectors come from: the registry's, or 7/12 of the depth (XTREME: 7 of 12)."""
    spec = settings.registry.backbones().get(trimmed.full_name(files.name))
    depth = int(backbones.read_config(files.folder / "config.json").num_hidden_layers)
    return spec.retrieval_layer if spec and spec.retrieval_layer is not None else round(depth * 7 / 12)


def _retrieval(
    settings: Settings,
    backbone: Backbone,
    stack: Stack,
    task: Task,
    data: Dataset,
    precision: str,
    allow_mismatch: bool,
) -> dict[str, Any]:
    """English query -> candidates in the language, as XTREME scores it; the other direction and all layers beside."""
    from adaptx.data.tokenize import Text
    from adaptx.engine.model import sentence_vectors
    from adaptx.tasks import retrieval

    pairs = [e for e in data.examples if isinstance(e, ParallelExample)]
    model = model_for(settings, backbone, stack, precision, None, allow_mismatch)
    text = Text.of(backbone, task.train.max_tokens)
    layers = range(int(backbone.config.num_hidden_layers) + 1)
    foreign = sentence_vectors(model, retrieval.features([e.text for e in pairs], text), layers, EVALUATION_TOKENS)
    english = sentence_vectors(model, retrieval.features([e.english for e in pairs], text), layers, EVALUATION_TOKENS)
    gold = list(range(len(pairs)))
    right = {
        layer: (retrieval.nearest(english[layer], foreign[layer]), retrieval.nearest(foreign[layer], english[layer]))
        for layer in layers
    }
    layer = retrieval_layer(settings, backbone.files)
    metric = METRICS[task.metrics[0]]
    forward = score_with_interval(task.metrics[0], right[layer][0].tolist(), gold)
    back = score_with_interval(task.metrics[0], right[layer][1].tolist(), gold)
    sweep = {str(k): [metric.score(a.tolist(), gold), metric.score(b.tolist(), gold)] for k, (a, b) in right.items()}
    return {
        "n": len(pairs),
        "metrics": {forward.name: forward.value, f"reverse_{back.name}": back.value},
        "intervals": {forward.name: forward.ci95, f"reverse_{back.name}": back.ci95},
        "stats": forward.stats.tolist(),
        "extra": {"layer": layer, "direction": "English query, candidates in the language", "sweep": sweep},
        "predictions": [[e.id, int(p)] for e, p in zip(pairs, right[layer][0], strict=True)],
    }
