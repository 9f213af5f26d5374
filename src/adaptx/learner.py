"""A model in training: encoder with fresh or inherited weights, one head per task, features, batches, scores.

Built from a resolved job; knows no store and writes nothing.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from adaptx import backbones, kept, methods
from adaptx.chance import chance_level
from adaptx.data import sources
from adaptx.data.tokenize import Text
from adaptx.engine.loop import Work
from adaptx.engine.lower import LowerStates, constant_layers
from adaptx.engine.model import Model, summarise
from adaptx.engine.packing import Features, IntArray, Packed, epoch_plan, fixed_plan
from adaptx.jobs import Job
from adaptx.metrics import METRICS
from adaptx.provenance import code_digest, memory_bytes
from adaptx.recipe import Mixing
from adaptx.registry import Task
from adaptx.scores import score_all
from adaptx.stack import adapter_name, assemble, member_names, names_of, packable
from adaptx.tasks import Kind, kind_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Part:
    """One task of a learner: its kind, labels and features by split."""

    task: Task
    kind: Kind
    text: Text
    labels: tuple[str, ...]
    features: dict[sources.Split, Features]


@dataclass
class Learner:
    """What the training loop works on. `name`: what the trained adapter is called on the encoder."""

    job: Job
    model: Model
    parts: dict[str, Part]
    name: str
    best_dev: tuple[float, dict[str, dict[str, float]]] | None = None  # this process's best dev score and its metrics
    constant_layers: int = 0  # from the bottom: their states are kept, and the batches stay the same in every epoch

    def loss(self, task: str, batch: Packed) -> torch.Tensor:
        """Mean loss of a batch of one of the tasks."""
        return self.parts[task].kind.loss(self.model(task, batch), batch)

    def items(self, task: str, batch: Packed) -> int:
        """How many items the loss of a batch is the mean of."""
        return self.parts[task].kind.items(batch)

    def plan(self, epoch: int) -> list[Work]:
        """The batches of an epoch; several tasks are interleaved by the recipe's mixture."""
        recipe = self.job.recipe
        if len(self.parts) == 1:
            task = next(iter(self.parts))
            features = self._refreshed(task, epoch)
            return [Work(task, features, rows) for rows in self._batches(task, epoch)]
        shares = batch_shares({t: len(self._batches(t, 0)) for t in self.parts}, recipe.mixing or Mixing())
        work: list[Work] = []
        for task, share in shares.items():
            features = self._refreshed(task, epoch)
            rows: list[IntArray] = []
            for turn in range(epoch * 1000, epoch * 1000 + 1000):
                rows += self._batches(task, turn)
                if len(rows) >= share:
                    break
            work += [Work(task, features, r) for r in rows[:share]]
        return [work[i] for i in np.random.default_rng([recipe.seed, epoch, 1]).permutation(len(work))]

    def _batches(self, task: str, turn: int) -> list[IntArray]:
        recipe = self.job.recipe
        plan = fixed_plan if self.constant_layers else epoch_plan
        return plan(self.parts[task].features["train"], recipe.optimiser.batch_tokens, recipe.seed, turn)

    def _refreshed(self, task: str, epoch: int) -> Features:
        part = self.parts[task]
        return part.kind.refresh(part.features["train"], part.text, self.job.recipe.seed, epoch)

    def scores(self, task: str, split: sources.Split) -> dict[str, float]:
        """Every metric of a task on a split."""
        part = self.parts[task]
        examples = self.job.data[task][split].examples
        features = part.kind.refresh(part.features[split], part.text, 0, -1)
        budget = max(self.job.recipe.optimiser.batch_tokens, 2048)
        summary = summarise(self.model, task, features, part.kind.summary, budget)
        predictions = part.kind.decode(summary, features, examples, part.labels, part.task)
        return score_all(part.task, predictions, part.kind.references(examples))

    def dev_score(self) -> float:
        """The mean over tasks of the metric that selects checkpoints, oriented so that higher is better."""
        metrics = {t: self.scores(t, "dev") for t in self.parts}
        score = float(np.mean([selection(m, self.parts[t].task.metrics[0]) for t, m in metrics.items()]))
        if self.best_dev is None or score > self.best_dev[0]:
            self.best_dev = (score, metrics)
        return score

    def baseline(self, scoring: Callable[[int], None] = lambda _: None) -> dict[str, dict[str, float]]:
        """What the trained model must beat on dev data, keyed as `final_scores` is: a constant answer's score by the
        leading metric; where there is no such answer, the scores of the weights now loaded. `scoring` is told of how
        many tokens before that is done."""
        out = {}
        for task, part in self.parts.items():
            if "dev" in part.features:
                level = chance_level(part.task, self.job.data[task]["dev"].examples)
                if level is None:
                    scoring(part.features["dev"].tokens)
                    scores = self.scores(task, "dev")
                else:
                    scores = {level.metric: level.level}
                out["dev" if len(self.parts) == 1 else f"{task}/dev"] = scores
        return out

    def final_scores(self, best: float | None) -> dict[str, dict[str, float]]:
        """Dev and test metrics of the weights now loaded; `best`: their dev score, which saves scoring them again."""
        out = {}
        for task, part in self.parts.items():
            for split in sources.HELD_OUT:
                if split in part.features:
                    known = split == "dev" and self.best_dev is not None and self.best_dev[0] == best
                    scores = self.best_dev[1][task] if known and self.best_dev else self.scores(task, split)
                    out[split if len(self.parts) == 1 else f"{task}/{split}"] = scores
        return out

    def keep_lower_states(self, folder: Path) -> None:
        """Keep what enters the lowest trained layer: in a quarter of the memory, then in `folder`, in a quarter of its
        disk's free space."""
        shutil.rmtree(folder, ignore_errors=True)
        if self.constant_layers:
            cuda = self.model.device.type == "cuda"
            memory = torch.cuda.mem_get_info(self.model.device)[0] if cuda else memory_bytes()
            free = shutil.disk_usage(next(p for p in folder.parents if p.is_dir())).free
            self.model.lower = LowerStates(self.constant_layers, memory // 4, folder, free // 4)

    @property
    def has_dev(self) -> bool:
        """Whether every task has a dev split to select checkpoints by."""
        return all("dev" in p.features for p in self.parts.values())


def build(job: Job, keep: bool = True) -> Learner:
    """The learner of a job on the settings' device, weights initialised from the recipe's seed. `keep` False: every
    text is tokenised, whatever the cache has."""
    recipe, method = job.recipe, job.method
    name = adapter_name(recipe.lang, recipe.task)
    device = backbones.pick_device(job.settings.device)
    backbone = backbones.load(job.files)
    torch.manual_seed(recipe.seed)
    encoder = (
        backbone.encoder("fp32", device, private=True)
        if method.family == "full"
        else assemble(job.stack, backbone, job.settings.registry, recipe.precision, device)
    )
    if job.fused:
        members = dict(zip(member_names(job.fused), (s.adapter for s in job.fused), strict=True))
        methods.fuse(encoder, method, name, members)
    elif job.init_from is None:
        methods.attach(encoder, method, recipe.hyper, name)
    else:
        methods.load(encoder, method, name, job.init_from.adapter)
    methods.activate(encoder, method, [*names_of(job.stack), name])
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = recipe.optimiser.dropout
    parts = {t.id: _part(job, t, backbone, keep) for t in job.tasks}
    heads = nn.ModuleDict({t: p.kind.head(backbone, p.labels, p.task) for t, p in parts.items()})
    if method.family == "full":
        ids = np.concatenate([p.features["train"].ids for p in parts.values()])
        _train_touched_rows(encoder, method, np.union1d(ids, list(backbone.special.values())))
    methods.unfreeze(encoder, method, name)
    packed = method.packable and packable(job.stack, job.settings.registry)
    model = Model(
        encoder,
        heads.to(device),
        backbone.first_position,
        torch.device(device),
        recipe.precision,
        packable=packed,
        checkpointing=job.gradient_checkpointing,
        compiled=recipe.compiled,
    )
    return Learner(job, model, parts, name, constant_layers=_constant_layers(model, parts))


def _part(job: Job, task: Task, backbone: backbones.Backbone, keep: bool) -> Part:
    kind = kind_of(task)
    text = Text.of(backbone, task.train.max_tokens)
    data = job.data[task.id]
    labels = kind.labels(task, data["train"].examples)

    def features(split: sources.Split) -> Features:
        make = partial(kind.features, data[split].examples, text, labels, task)
        return kept.features(job.settings.cache, _key(job, task, split, labels), make) if keep else make()

    return Part(task, kind, text, labels, {split: features(split) for split in data})


def _key(job: Job, task: Task, split: sources.Split, labels: tuple[str, ...]) -> dict[str, Any]:
    """What decides the features of a split: rows, tokenizer, task, and the code that makes them."""
    source = sources.pick(job.settings, task, job.recipe.lang)
    return {
        "source": sources.fingerprint(source, [split]),
        "tables": [[t.id, t.revision, t.rows] for t in job.data[task.id][split].tables],
        "limit": job.recipe.limit if split == "train" else None,
        "lang": job.recipe.lang,
        "task": task.model_dump(mode="json", include={"id", "kind", "labels", "options"}),
        "max_tokens": task.train.max_tokens,
        "labels": labels,
        "tokenizer": [job.files.reference.reading_sha256, job.files.reference.weights_sha256],
        "code": code_digest(),
    }


def _constant_layers(model: Model, parts: dict[str, Part]) -> int:
    """Layers below everything that is trained, where each epoch sees the same tokens."""
    layers = 0 if model.checkpointing else constant_layers(model.encoder)
    trains = [(p.kind, p.features["train"], p.text) for p in parts.values()] if layers else []
    same = all(kind.refresh(features, text, 0, 0) is features for kind, features, text in trains)
    return layers if same else 0


def _train_touched_rows(encoder: "PreTrainedModel", method: Any, ids: IntArray) -> None:
    """Give the optimiser only the embedding rows that the training data and the special tokens use."""
    device = encoder.embeddings.word_embeddings.weight.device
    methods.family(method).keep_rows(encoder, torch.from_numpy(ids.astype(np.int64)).to(device))


def batch_shares(batches: dict[str, int], mixing: Mixing) -> dict[str, int]:
    """Batches per epoch of each task: as many in all as the tasks have, shared by size ** (1 / temperature).

    Source: Devlin 2018 (multilingual BERT readme), Arivazhagan et al. 2019, section 4.2 (temperature sampling).
    """
    weights = {t: float(n) ** (1 / mixing.temperature) if mixing.temperature > 0 else 1.0 for t, n in batches.items()}
    total, norm = sum(batches.values()), sum(weights.values())
    return {t: max(1, round(total * w / norm)) for t, w in weights.items()}


def selection(scores: dict[str, float], metric: str) -> float:
    """The score that selects checkpoints, oriented so that higher is better."""
    value = scores[METRICS[metric].name]
    return value if METRICS[metric].higher_is_better else -value
