"""Weighted sums of finished adapters: averaging of runs, and language arithmetic. Trains nothing.

Averaging runs that differ in their seed is accuracy for free (Schmidt et al. 2023, "Free Lunch", section 3); sums of
language adapters stand for languages in between (Klimaszewski et al. 2024).
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adaptx import cards, provenance, store
from adaptx.errors import AdaptxError
from adaptx.manifest import FileEntry, Manifest, TensorEntry
from adaptx.recipe import Parent, Recipe
from adaptx.refs import Ref, parse_ref
from adaptx.stack import adapter_name
from adaptx.store import Stored

Term = tuple[float, Stored]
TERM = re.compile(r"\s*(?:([+-]?\d*\.?\d+)\s*\*)?\s*([^\s*]+?)\s*")


def parse_expression(text: str) -> list[tuple[float, Ref]]:
    """Weights and references of "0.7*fi/mlm + 0.3*et/mlm"; a term without weight counts once. Raises AX005."""
    out = []
    for part in re.split(r"\+(?=\s*(?:[+-]?\d*\.?\d+\s*\*|[a-z]{2,3}/))", text):
        match = TERM.fullmatch(part)
        if not match:
            raise AdaptxError("AX005", part, "expected WEIGHT*LANG/TASK[:METHOD][@RUN].")
        out.append((float(match[1]) if match[1] else 1.0, parse_ref(match[2])))
    return out


def combine(folder: Path, terms: Sequence[Term]) -> Stored:
    """The adapter whose every tensor is the weighted sum of the terms' tensors, written to the store `folder`.

    Heads are summed too where all terms have the same tasks and labels, else there is none. Raises AX051 where the
    terms do not have the same backbone, method, hyper-parameters and shapes.
    """
    recipe = _recipe(terms)
    found = store.get(folder, recipe)
    if found is not None:
        return found
    name = adapter_name(recipe.lang, recipe.task)
    first = terms[0][1]
    tasks = {s.recipe.task for _, s in terms}
    with_head = len(tasks) == 1 and all(s.manifest.labels == first.manifest.labels for _, s in terms)

    def fill(stage: Path) -> None:
        for path in sorted(first.adapter.iterdir()):
            target = stage / "adapter" / path.name
            target.parent.mkdir(exist_ok=True)
            if path.suffix == ".safetensors":
                _sum([(w, s.adapter / path.name, _name(s)) for w, s in terms], name, target)
            else:
                target.write_text(path.read_text("utf-8").replace(f'"{_name(first)}"', f'"{name}"'), "utf-8")
        if with_head:
            _sum([(w, s.folder / "head.safetensors", "") for w, s in terms], "", stage / "head.safetensors")

    def describe(files: tuple[FileEntry, ...], tensors: tuple[TensorEntry, ...]) -> Manifest:
        return Manifest(
            run=recipe.run_id,
            ref=recipe.ref,
            recipe=recipe,
            labels=first.manifest.labels if with_head else {},
            files=files,
            tensors=tensors,
            versions=provenance.versions(),
            hardware=provenance.hardware("cpu"),
            cost={**first.manifest.cost, "seconds": {"train": 0.0}, "steps": 0, "tokens": 0},
            metrics={},
            notes=tuple(sorted({n for _, s in terms for n in s.manifest.notes})),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    return store.write(folder, recipe, fill, describe, cards.render)


def _name(stored: Stored) -> str:
    return adapter_name(stored.recipe.lang, stored.recipe.task)


def _recipe(terms: Sequence[Term]) -> Recipe:
    """The first term's recipe with all terms as parents and all their data."""
    if len(terms) < 2:
        raise AdaptxError("AX051", f"{len(terms)} term", "a combination needs at least two adapters.")
    first = terms[0][1].recipe
    if first.family == "fusion":
        raise AdaptxError("AX051", terms[0][1].ref, "fusions attend to adapters of their own and are not added up.")
    for _, stored in terms[1:]:
        r = stored.recipe
        if (r.backbone.weights_sha256, r.method, r.hyper) != (first.backbone.weights_sha256, first.method, first.hyper):
            raise AdaptxError(
                "AX051", f"{terms[0][1].ref} and {stored.ref}", "they differ in backbone, method or hyper-parameters."
            )
    parents = tuple(Parent(how="combine", ref=s.ref, run=s.manifest.run, weight=w) for w, s in terms)
    data = {d.model_dump_json(): d for _, s in terms for d in s.recipe.data}
    return first.model_copy(
        update={
            "lang": "+".join(sorted({s.recipe.lang for _, s in terms})),
            "task": "+".join(sorted({t.id for _, s in terms for t in s.recipe.tasks})),
            "tasks": tuple({t.id: t for _, s in terms for t in s.recipe.tasks}.values()),
            "parents": (*first.parent("stack"), *parents),
            "data": tuple(data.values()),
        }
    )


def _sum(parts: list[tuple[float, Path, str]], name: str, target: Path) -> None:
    """Write the weighted sum of safetensors files; each file's own adapter name becomes `name`."""
    from safetensors.torch import load_file, save_file

    total: dict[str, Any] = {}
    for weight, path, own in parts:
        tensors = {k.replace(f".{own}.", f".{name}.") if own else k: v for k, v in load_file(path).items()}
        if total and (tensors.keys() != total.keys() or any(tensors[k].shape != total[k].shape for k in total)):
            raise AdaptxError("AX051", path.name, "the adapters hold different tensors.")
        total = {k: v.double() * weight + (total[k] if total else 0.0) for k, v in tensors.items()}
    save_file({k: v.float().contiguous() for k, v in total.items()}, target, {"format": "pt"})
