"""Weighted sums of adapters: exact arithmetic on tensors, provenance kept, misfits refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import toy
from adaptx import store
from adaptx.combine import combine, parse_expression
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.jobs import prepare
from adaptx.refs import parse_ref
from adaptx.store import Stored
from adaptx.training import run


def trained(settings: Settings, task: str, method: str, seed: int, lang: str = "en") -> Stored:
    options = replace(toy.OPTIONS, method=method, seed=seed, max_steps=3)
    return run(prepare(settings, lang, task, options))


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return {k: v for path in sorted(folder.rglob("*.safetensors")) for k, v in load_file(path).items()}


def test_expressions_give_weights_and_references() -> None:
    assert parse_expression("0.7*fi/mlm + 0.3*et/mlm:lora@beef") == [
        (0.7, parse_ref("fi/mlm")),
        (0.3, parse_ref("et/mlm:lora@beef")),
    ]
    assert parse_expression("fi/mlm + -1*en/anli+qqp") == [(1.0, parse_ref("fi/mlm")), (-1.0, parse_ref("en/anli+qqp"))]
    with pytest.raises(AdaptxError, match="AX005"):
        parse_expression("0.7*fi mlm")


@pytest.mark.parametrize("method", ["pfeiffer", "lora", "full"])
def test_an_average_is_the_mean_of_every_tensor_and_is_found_again(settings: Settings, method: str) -> None:
    a, b = (trained(settings, "toynli", method, seed) for seed in (0, 1))
    mean = combine(settings.store, [(0.5, a), (0.5, b)])
    left, right, both = tensors(a.folder), tensors(b.folder), tensors(mean.folder)
    assert both.keys() == left.keys()
    assert any(not np.array_equal(left[k], right[k]) for k in left)
    for name, value in both.items():
        np.testing.assert_allclose(value, (left[name].astype(np.float64) + right[name]) / 2, atol=1e-6)
    assert [(p.run, p.weight) for p in mean.recipe.parent("combine")] == [(a.manifest.run, 0.5), (b.manifest.run, 0.5)]
    assert mean.manifest.run not in (a.manifest.run, b.manifest.run)
    assert combine(settings.store, [(0.5, a), (0.5, b)]).manifest.created == mean.manifest.created
    assert combine(settings.store, [(0.9, a), (0.1, b)]).manifest.run != mean.manifest.run


def test_a_combination_loads_and_predicts_like_any_adapter(settings: Settings) -> None:
    from adaptx.predict import predict

    a, b = (trained(settings, "toynli", "pfeiffer", seed) for seed in (0, 1))
    same = combine(settings.store, [(1.0, a), (0.0, b)])
    texts = ["bado nugi lemi ||| tusa pame ropi", "lemi vilo bado ||| lemi vilo bado"]
    asked = [parse_ref(f"en/toynli:pfeiffer@{s.manifest.run}") for s in (same, a)]
    first, second = (predict(settings, ref, texts, "fp32") for ref in asked)
    assert first == second
    assert store.verified(same.folder).manifest == same.manifest


def test_adapters_of_different_methods_or_too_few_are_refused(settings: Settings) -> None:
    a, b = trained(settings, "toynli", "pfeiffer", 0), trained(settings, "toynli", "lora", 0)
    before = sorted(p for p in settings.store.rglob("*"))
    for terms in ([(0.5, a), (0.5, b)], [(1.0, a)]):
        with pytest.raises(AdaptxError, match="AX051"):
            combine(settings.store, terms)
    assert sorted(p for p in settings.store.rglob("*")) == before
