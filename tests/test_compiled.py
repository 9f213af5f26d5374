"""Parts of the encoder through torch.compile: the same losses and gradients, no compiling again for another length."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import toy
from adaptx import learner as learners
from adaptx.backbones import token_wise
from adaptx.config import Settings
from adaptx.engine import compiled
from adaptx.engine.packing import pack
from adaptx.errors import AdaptxError
from adaptx.jobs import prepare
from adaptx.learner import Learner
from adaptx.scoring import cell
from adaptx.stack import Stack
from adaptx.training import run

# Every family, and one of each way to run: in 8 bits, from kept lower layers, activations computed again.
WAYS = {
    "pfeiffer": {"method": "pfeiffer"},
    "lora": {"method": "lora"},
    "full": {"method": "full"},
    "prefix": {"method": "prefix"},
    "int8": {"method": "pfeiffer", "precision": "int8"},
    "upper": {"method": "lora", "adapter_layers": "upper"},
    "checkpointing": {"method": "pfeiffer", "gradient_checkpointing": True},
}


def compiling(test: Any) -> Any:
    """A test that waits for the compiler, where there is one."""
    there = any(shutil.which(name) for name in compiled.COMPILERS)
    return pytest.mark.slow(pytest.mark.skipif(not there, reason="needs a C++ compiler")(test))


def learner_of(settings: Settings, task: str, **way: object) -> Learner:
    options = replace(toy.OPTIONS, lr=1e-2, batch_tokens=256, **way)  # type: ignore[arg-type]
    return learners.build(prepare(settings, "en", task, options))


@compiling
@pytest.mark.parametrize("way", WAYS)
def test_losses_and_gradients_are_those_without(way: str, settings: Settings) -> None:
    (plain, wanted), (fused, found) = (
        toy.loss_and_gradients(learner_of(settings, "toynli", compile=c, **WAYS[way])) for c in (False, True)
    )
    near = 0.999 if way == "int8" else 0.99999
    assert fused == pytest.approx(plain, rel=1e-2 if way == "int8" else 1e-4)
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=0) > near


@compiling
@pytest.mark.parametrize("way", ["pfeiffer", "lora", "full", "int8"])
def test_batches_of_other_lengths_and_layers_with_other_weights_are_not_compiled_again(
    way: str, settings: Settings
) -> None:
    torch._dynamo.reset()
    learner = learner_of(settings, "toynli", compile=True, **WAYS[way])
    works = learner.plan(0)
    lengths = set()

    def graphs(chosen: list[int]) -> int:
        for i in chosen:
            batch = pack(works[i].features, works[i].rows, learner.model.first_position)
            lengths.add(batch.tokens)
            learner.loss(works[i].task, batch).backward()  # type: ignore[no-untyped-call]
        return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    torch._dynamo.utils.counters.clear()
    first = graphs([0, 1])
    assert 0 < first < 8
    assert graphs(list(range(2, len(works)))) == first
    assert len(lengths) > 3


@compiling
def test_a_compiled_run_is_another_run_and_its_adapter_scores_without(settings: Settings) -> None:
    jobs = [prepare(settings, "en", "toypos", replace(toy.OPTIONS, lr=1e-2, compile=c)) for c in (False, True)]
    plain, fused = (run(job) for job in jobs)
    assert plain.manifest.run != fused.manifest.run
    task = settings.registry.task("toypos")
    scores = [cell(settings, Stack((s,)), task, "qaa", "fp32").metrics for s in (plain, fused)]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)


def test_run_ids_of_runs_that_are_not_compiled_are_what_they_were(settings: Settings) -> None:
    recipe = prepare(settings, "en", "toypos", toy.OPTIONS).recipe
    value = recipe.model_dump(mode="json")
    del value["compiled"]
    assert type(recipe).model_validate(value).run_id == recipe.run_id
    assert recipe.model_copy(update={"compiled": True}).run_id != recipe.run_id


def test_what_mixes_tokens_is_left_alone(settings: Settings) -> None:
    encoder = learner_of(settings, "toypos", compile=True).model.encoder
    changed = {n for n, m in encoder.named_modules() if "forward" in vars(m)}
    names = {m: n for n, m in encoder.named_modules()}
    assert changed == {names[m] for m in token_wise(encoder)}
    assert not any(n.endswith((".self", ".attention")) for n in changed)


def test_without_a_compiler_it_is_refused_before_training(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(AdaptxError) as caught:
        learner_of(settings, "toypos", compile=True)
    assert (caught.value.code, "C++ compiler" in str(caught.value)) == ("AX033", True)
    learner_of(settings, "toypos")
    (tmp_path / "my-c++").touch(mode=0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "my-c++"))
    compiled.check("cpu")
