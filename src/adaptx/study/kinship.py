"""Which sources should serve a target language best, before anything is trained: by typology, by embedding.

Gives orderings that `analysis` judges by regret@k. Knows registry, data and backbone; no run and no score.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from adaptx import atomic, backbones, jobs, scoring
from adaptx.config import Settings
from adaptx.data import sources
from adaptx.data.examples import ParallelExample
from adaptx.errors import AdaptxError
from adaptx.recipe import digest_of
from adaptx.registry import Registry, Task, Typology
from adaptx.stack import Stack
from adaptx.study.plan import ENGLISH, Plan

FILE = "orderings.json"
TYPOLOGY, EMBEDDING = "typology", "embedding distance"
PAIRS = 500  # sentence pairs a language: the mean of so many moves little

Ordering = tuple[str, ...]


def typological_distance(a: Typology, b: Typology) -> float:
    """Between 0 (the same) and 1: half by how early the family trees part, half by the share of features that differ.

    A coarse stand-in for URIEL's distances (Littell et al. 2017), by which Lin et al. 2019 choose transfer languages.
    """
    shared = 0
    for mine, other in zip(a.family, b.family, strict=False):
        if mine != other:
            break
        shared += 1
    tree = 1 - shared / max(len(a.family), len(b.family))
    features = ("order", "gender", "cases", "definite", "adpositions")
    differ = sum(bool(getattr(a, f) != getattr(b, f)) for f in features)
    return (tree + differ / len(features)) / 2


def by_typology(registry: Registry, target: str, langs: Iterable[str]) -> Ordering:
    """`langs` from near to far; what the registry says nothing of is left out, and all where that is the target."""
    known = registry.typology()
    if target not in known:
        return ()
    return _sorted({x: typological_distance(known[target], known[x]) for x in langs if x in known})


def by_embedding(settings: Settings, target: str, langs: Iterable[str]) -> Ordering:
    """`langs` from near to far by the distance of language offsets; without parallel data a language is left out.

    A language's offset is the mean difference between the backbone's vectors of its sentences and of their English
    translations: content cancels out, English itself is at zero. Source: Libovický et al. 2020 find that the mean
    of a language's vectors holds its identity.
    """
    tasks = [t for t in settings.registry.tasks() if t.kind == "retrieval"]

    def task_of(lang: str) -> Task | None:
        return next((t for t in tasks if sources.available(settings, t, lang, "test")), None)

    offsets: dict[str, Any] = {}
    for lang in dict.fromkeys([target, *langs]):
        task = task_of(lang)
        if task is not None:
            offsets[lang] = offset(settings, task, lang)
    if target not in offsets:
        return ()
    offsets.setdefault(ENGLISH, np.zeros_like(offsets[target]))
    return _sorted({x: float(np.linalg.norm(offsets[x] - offsets[target])) for x in langs if x in offsets})


def _sorted(distances: dict[str, float]) -> Ordering:
    return tuple(sorted(distances, key=lambda lang: (distances[lang], lang)))


def offset(settings: Settings, task: Task, lang: str) -> "np.ndarray[Any, Any]":
    """A language's offset [H] to English in the bare backbone, computed once per store."""
    data, files = jobs.loaded(settings, task.id, lang, "test"), backbones.locate(settings)
    layer = scoring.retrieval_layer(settings, files)
    key = {
        "backbone": files.weights_sha256,
        "layer": layer,
        "pairs": PAIRS,
        "data": [[t.id, t.revision, t.rows] for t in data.tables],
        "reading": sources.fingerprint(sources.pick(settings, task, lang), ["test"]),
    }
    digest = digest_of(key)
    path = settings.store / "vectors" / files.name.replace("/", "--") / lang / f"{digest[:32]}.json"
    if not path.is_file():
        pairs = [e for e in data.examples if isinstance(e, ParallelExample)][:PAIRS]
        value = _means(settings, task, [e.text for e in pairs]) - _means(settings, task, [e.english for e in pairs])
        atomic.write_json(path, {"key": key, "offset": value.round(6).tolist()})
    return np.array(json.loads(path.read_text("utf-8"))["offset"])


def _means(settings: Settings, task: Task, texts: list[str]) -> "np.ndarray[Any, Any]":
    """The mean sentence vector [H] of the bare backbone at its retrieval layer."""
    from adaptx.data.tokenize import Text
    from adaptx.engine.model import sentence_vectors
    from adaptx.tasks import retrieval

    backbone = backbones.load(backbones.locate(settings))
    model = scoring.model_for(settings, backbone, Stack(), "fp32")
    layer = scoring.retrieval_layer(settings, backbone.files)
    features = retrieval.features(texts, Text.of(backbone, task.train.max_tokens))
    found = sentence_vectors(model, features, [layer], scoring.EVALUATION_TOKENS)
    return np.asarray(found[layer].mean(axis=0), dtype=np.float64)


def write(plan: Plan, settings: Settings) -> None:
    """Put the orderings of a study's sources into its folder, with the reason where one cannot be had."""
    langs = sorted({c.source for c in plan.cells if c.intermediate is not None})
    found, missing = {TYPOLOGY: by_typology(settings.registry, plan.study.language, langs)}, {}
    try:
        found[EMBEDDING] = by_embedding(settings, plan.study.language, langs)
    except AdaptxError as error:
        missing[EMBEDDING] = str(error)
    value = {"orderings": {k: list(v) for k, v in found.items() if v}, "missing": missing}
    atomic.write_json(plan.folder(settings.store) / FILE, value)


def read(folder: Path) -> dict[str, Ordering]:
    """The orderings in a study's folder; none where its last run was cut off before they were made."""
    path = folder / FILE
    if not path.is_file():
        return {}
    return {str(k): tuple(v) for k, v in json.loads(path.read_text("utf-8"))["orderings"].items()}
