"""The stack laws, what a stack may hold, and what training on top of one must leave alone."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import toy
from adaptx import backbones, learner, methods
from adaptx.backbones import Backbone
from adaptx.config import RunOptions, Settings
from adaptx.engine.model import encode_packed, encode_padded
from adaptx.engine.packing import Encoded, Features, Packed, collect, pack
from adaptx.errors import AdaptxError
from adaptx.jobs import Job
from adaptx.methods.full import RowEmbedding
from adaptx.registry import Registry
from adaptx.stack import Stack, assemble, names_of
from adaptx.store import Stored
from adaptx.training import prepare, run

METHODS = Registry().methods()
FROZEN = [m for m, spec in METHODS.items() if spec.family != "full"]
OTHERS = [m for m in FROZEN if METHODS[m].family != "probe" and METHODS[m].stackable]
CAN_BE_SILENT = [m for m in OTHERS if METHODS[m].hyper.get("config") != "prefix_tuning"]


@pytest.fixture(scope="module")
def module_settings(settings_on: Callable[[str], Settings]) -> Settings:
    return settings_on("bert")


@pytest.fixture(scope="module")
def backbone(module_settings: Settings) -> Backbone:
    return backbones.load(backbones.locate(module_settings))


@pytest.fixture(scope="module")
def batch(backbone: Backbone) -> Packed:
    rng = np.random.default_rng(0)
    rows = [Encoded(rng.integers(4, 180, n).tolist(), [0], [0], i, i) for i, n in enumerate([5, 20, 6, 33])]
    return pack(collect(rows), np.arange(4), backbone.first_position)


def states(stack: Stack, backbone: Backbone, settings: Settings, batch: Packed) -> torch.Tensor:
    encoder = assemble(stack, backbone, settings.registry, "fp32", "cpu")
    with torch.no_grad():
        out = encode_packed(encoder, batch)
    assert isinstance(out, torch.Tensor)
    return out


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def adapters(settings: Settings, method: str) -> tuple[Stored, Stored, Stored, Stored]:
    """A language-like and a task-like adapter, and both again with nothing to add."""
    made = partial(toy.made, settings, method)
    return (
        made(lang="qaa", seed=0),
        made(lang="en", seed=0, edit=partial(toy.perturb, seed=5)),
        made(lang="qaa", seed=1, edit=toy.silence),
        made(lang="en", seed=1, edit=toy.silence),
    )


@pytest.mark.parametrize("method", CAN_BE_SILENT)
def test_a_silent_adapter_in_a_stack_changes_nothing_above_or_below(
    method: str, module_settings: Settings, backbone: Backbone, batch: Packed
) -> None:
    lower, upper, silent_lower, silent_upper = adapters(module_settings, method)
    say = partial(states, backbone=backbone, settings=module_settings, batch=batch)
    bare = say(Stack())
    if not METHODS[method].hyper.get("quantise"):
        assert difference(say(Stack((silent_lower,))), bare) < 1e-5, "silent alone"
    assert difference(say(Stack((lower,))), bare) > 1e-2
    try:
        both = say(Stack((lower, upper)))
    except AdaptxError as error:
        assert error.code == "AX051", "a method that cannot be stacked says so"
        return
    assert difference(say(Stack((lower, silent_upper))), say(Stack((lower,)))) < 1e-5, "Stack(lang, zero task) == lang"
    assert difference(say(Stack((silent_lower, upper))), say(Stack((upper,)))) < 1e-5, "Stack(zero lang, task) == task"
    assert difference(both, say(Stack((lower,)))) > 1e-2, "the upper one counts"
    assert difference(both, say(Stack((upper,)))) > 1e-2, "the lower one counts"


@pytest.mark.parametrize("method", [m for m in OTHERS if METHODS[m].packable])
def test_a_stack_is_the_same_packed_and_padded(
    method: str, module_settings: Settings, backbone: Backbone, batch: Packed
) -> None:
    made = partial(toy.made, module_settings, method)
    stack = Stack((made(lang="qaa"), made(lang="en", edit=partial(toy.perturb, seed=5))))
    try:
        encoder = assemble(stack, backbone, module_settings.registry, "fp32", "cpu")
    except AdaptxError as error:
        assert error.code == "AX051", "a method that cannot be stacked says so"
        return
    with torch.no_grad():
        assert difference(encode_packed(encoder, batch), encode_padded(encoder, batch)) < 1e-5


def test_low_rank_updates_add_up_so_their_order_does_not_matter_and_bottlenecks_do_not(
    module_settings: Settings, backbone: Backbone, batch: Packed
) -> None:
    say = partial(states, backbone=backbone, settings=module_settings, batch=batch)
    for method, commutes in (("lora", True), ("pfeiffer", False)):
        one, other, _, _ = adapters(module_settings, method)
        assert (difference(say(Stack((one, other))), say(Stack((other, one)))) < 1e-5) is commutes


@pytest.mark.parametrize("method", OTHERS)
def test_an_assembled_stack_has_nothing_to_train_and_leaves_the_shared_weights_alone(
    method: str, module_settings: Settings, backbone: Backbone
) -> None:
    before = {k: v.clone() for k, v in backbone.state.items()}
    stack = Stack((toy.made(module_settings, method),))
    encoder = assemble(stack, backbone, module_settings.registry, "fp32", "cpu")
    assert methods.trainable(encoder) == {}
    assert not encoder.training
    assert all(torch.equal(v, before[k]) for k, v in backbone.state.items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", FROZEN)
def test_the_backbone_is_bit_identical_after_training(
    method: str, precision: str, settings: Settings, backbone: Backbone
) -> None:
    before = {k: v.clone() for k, v in backbone.weights(precision).items()}
    options = replace(toy.OPTIONS, method=method, precision=precision, lr=1e-2, max_steps=3)
    job = prepare(settings, "en", "toypos", options)
    loaded = backbones.load(job.files)
    assert loaded.files.weights_sha256 == backbone.files.weights_sha256
    run(job)
    after = loaded.weights(precision)
    assert after.keys() == before.keys()
    assert [k for k, v in after.items() if not torch.equal(v, before[k])] == []


@pytest.mark.parametrize("method", OTHERS)
def test_training_on_a_stack_leaves_the_lower_adapter_without_gradient_and_unchanged(
    method: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower = toy.made(settings, method, lang="qaa")
    learners: list[learner.Learner] = []
    build = learner.build

    def recorded(job: Job) -> learner.Learner:
        learners.append(build(job))
        return learners[-1]

    monkeypatch.setattr(learner, "build", recorded)
    options = RunOptions(method=method, precision="fp32", batch_tokens=128, max_steps=3, lr=1e-2)
    upper = run(prepare(settings, "en", "toynli", options, stack=Stack((lower,))))
    encoder = learners[-1].model.encoder
    name = names_of(Stack((lower,)))[0]
    theirs = {n: p for n, p in encoder.named_parameters() if f".{name}." in f".{n}."}
    fresh = assemble(Stack((lower,)), backbones.load(backbones.locate(settings)), settings.registry, "fp32", "cpu")
    saved = {n: p for n, p in fresh.named_parameters() if f".{name}." in f".{n}."}
    assert theirs.keys() == saved.keys()
    assert len(theirs) > 0
    assert all(torch.equal(p, saved[n]) for n, p in theirs.items())
    assert not any(p.requires_grad or p.grad is not None for p in theirs.values())
    ours = methods.trainable(encoder)
    assert ours
    assert not any(n in theirs for n in ours)
    assert [p.run for p in upper.recipe.parent("stack")] == [lower.manifest.run]
    assert not any(name in key for key in toy.tensors(upper.adapter)), "the lower adapter is not saved again"


def test_training_on_a_stack_is_training_with_it(settings: Settings) -> None:
    """The dev scores' weights differ from those trained without: the lower adapter takes part in the forward pass."""
    lower = toy.made(settings, "pfeiffer", lang="qaa")
    options = RunOptions(method="pfeiffer", precision="fp32", batch_tokens=128, max_steps=3, lr=1e-2)
    alone = run(prepare(settings, "en", "toynli", options))
    on_top = run(prepare(settings, "en", "toynli", options, stack=Stack((lower,))))
    assert alone.manifest.run != on_top.manifest.run
    ours, theirs = toy.tensors(alone.adapter), toy.tensors(on_top.adapter)
    assert ours.keys() == theirs.keys()
    assert not all(torch.equal(v, theirs[k]) for k, v in ours.items())


@pytest.mark.parametrize("method", OTHERS)
def test_a_run_can_start_from_another_adapter_whose_weights_it_takes_and_whose_head_it_drops(
    method: str, settings: Settings
) -> None:
    origin = toy.made(settings, method)
    kept = toy.made(settings, method, name="toypos", edit=lambda model: None, init_from=origin)
    ours, theirs = toy.tensors(kept.adapter), toy.tensors(origin.adapter)
    assert [k.replace("toypos", "toynli") for k in ours] == list(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))
    assert [p.run for p in kept.recipe.parent("init_from")] == [origin.manifest.run]
    assert all("toypos" in k and "toynli" not in k for k in toy.tensors(kept.folder) if k.startswith("head"))


def refused(action: Callable[[], object]) -> AdaptxError:
    with pytest.raises(AdaptxError) as caught:
        action()
    assert caught.value.code == "AX051"
    return caught.value


def test_families_do_not_mix(module_settings: Settings, backbone: Backbone) -> None:
    pfeiffer, lora = toy.made(module_settings, "pfeiffer"), toy.made(module_settings, "lora")
    assert Stack((pfeiffer,)).family == "bottleneck"
    assert Stack().family is None
    error = refused(lambda: Stack((pfeiffer, lora)).family)
    assert "bottleneck" in error.why
    assert "lora" in error.why
    refused(lambda: assemble(Stack((pfeiffer, lora)), backbone, module_settings.registry, "fp32", "cpu"))


@pytest.mark.parametrize("method", [m for m in FROZEN if not METHODS[m].stackable])
def test_methods_that_do_not_compose_are_refused_in_a_stack(method: str, module_settings: Settings) -> None:
    language = toy.made(module_settings, method, lang="qaa", seed=0)
    options = replace(toy.OPTIONS, method=method)
    with pytest.raises(AdaptxError, match="AX051"):
        prepare(module_settings, "en", "toynli", options, stack=Stack((language,)))
    assert prepare(module_settings, "en", "toynli", options).recipe.method == method


@pytest.mark.parametrize("order", [("lora", "qlora"), ("qlora", "lora")])
def test_adapters_over_full_and_over_4_bit_weights_run_together_or_are_refused(
    order: tuple[str, str], module_settings: Settings, backbone: Backbone, batch: Packed
) -> None:
    stack = Stack(tuple(toy.made(module_settings, m) for m in order))
    try:
        assert torch.isfinite(states(stack, backbone, module_settings, batch)).all()
    except AdaptxError as error:
        assert error.code == "AX051"


@pytest.mark.parametrize(("method", "below"), [("lora", "pfeiffer"), ("pfeiffer", "lora"), ("full", "pfeiffer")])
def test_training_on_a_stack_of_another_family_is_refused_before_anything_is_loaded(
    method: str, below: str, module_settings: Settings
) -> None:
    stack = Stack((toy.made(module_settings, below),))
    refused(lambda: prepare(module_settings, "en", "toypos", RunOptions(method=method, precision="fp32"), stack=stack))


def test_a_fully_fine_tuned_model_stands_alone(module_settings: Settings, backbone: Backbone) -> None:
    full = toy.made(module_settings, "full")
    alone = Stack((full,))
    assert names_of(alone) == ["full"]
    assemble(alone, backbone, module_settings.registry, "fp32", "cpu")
    refused(lambda: assemble(Stack((full, full)), backbone, module_settings.registry, "fp32", "cpu"))
    options = RunOptions(method="full", precision="fp32", max_steps=1)
    refused(lambda: run(prepare(module_settings, "en", "toypos", options, stack=alone)))


def test_a_run_starts_from_adapters_of_its_own_method_only(module_settings: Settings) -> None:
    lora = toy.made(module_settings, "lora")
    options = RunOptions(method="pfeiffer", precision="fp32")
    refused(lambda: prepare(module_settings, "en", "toypos", options, init_from=lora))


def test_a_stack_reads_as_its_references_bottom_up(module_settings: Settings) -> None:
    one, other = toy.made(module_settings, "pfeiffer", lang="qaa"), toy.made(module_settings, "pfeiffer")
    assert str(Stack((one, other))) == f"{one.ref} + {other.ref}"
    assert str(Stack()) == "none"
    assert len(set(names_of(Stack((one, one))))) == 2, "one adapter twice has two names"


def test_training_only_the_touched_embedding_rows_gives_the_same_model_as_training_them_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = RunOptions(method="full", precision="fp32", batch_tokens=128, epochs=1, lr=1e-3)
    few = run(prepare(settings, "en", "toynli", options))
    monkeypatch.setattr(learner, "_train_touched_rows", lambda *_: None)
    every = run(prepare(replace(settings, store=settings.store.with_name("other")), "en", "toynli", options))
    ours, theirs = toy.tensors(few.folder), toy.tensors(every.folder)
    assert ours.keys() == theirs.keys()
    assert max(difference(ours[k], theirs[k]) for k in ours) < 1e-6
    assert few.manifest.cost["trainable_parameters"] < every.manifest.cost["trainable_parameters"]
    table = "model.safetensors:embeddings.word_embeddings.weight"
    changed = (toy.tensors(few.adapter)[table] != backbones.load(backbones.locate(settings)).state[table[18:]]).any(1)
    assert 5 < int(changed.sum()) < len(changed) - 5


def test_an_embedding_of_some_rows_looks_up_and_merges_like_the_whole_table() -> None:
    table = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    rows = RowEmbedding(table.clone(), torch.tensor([2, 5, 9]))
    ids = torch.tensor([[0, 2, 9, 5, 2]])
    assert torch.equal(rows(ids), table[ids])
    rows(ids).sum().backward()
    assert rows.weight.grad is None
    assert rows.rows.grad is not None
    assert rows.rows.grad[:, 0].tolist() == [2.0, 1.0, 1.0]
    with torch.no_grad():
        rows.rows.add_(1)
    expected = table.clone()
    expected[[2, 5, 9]] += 1
    assert torch.equal(rows.merged(), expected)
    assert torch.equal(rows(ids), expected[ids])


def work_of(settings: Settings, options: RunOptions, epoch: int, name: str = "toynli+toypos") -> list[Any]:
    return learner.build(prepare(settings, "en", name, options)).plan(epoch)


def test_two_tasks_under_one_adapter_share_every_epoch_and_keep_a_head_each(settings: Settings) -> None:
    options = RunOptions(method="pfeiffer", precision="fp32", batch_tokens=64)
    first, second = work_of(settings, options, 0), work_of(settings, options, 1)
    assert {w.task for w in first} == {"toynli", "toypos"}
    assert [(w.task, w.rows.tolist()) for w in first] != [(w.task, w.rows.tolist()) for w in second]
    repeated = work_of(settings, options, 0)
    assert [(w.task, w.rows.tolist()) for w in first] == [(w.task, w.rows.tolist()) for w in repeated]

    def rows(work: list[Any], task: str) -> list[int]:
        return sorted(int(r) for w in work if w.task == task for r in w.rows)

    features: dict[str, Features] = {w.task: w.features for w in first}
    for task in features:
        assert rows(first, task) == list(range(features[task].sequences)), "temperature 1: every example once"
    even = [w.task for w in work_of(settings, replace(options, temperature=0.0), 0)]
    assert abs(even.count("toynli") - even.count("toypos")) <= 1, "temperature 0: every task alike"
    assert abs(len(even) - len(first)) <= 1
    stored = toy.made(settings, "pfeiffer", name="toynli+toypos")
    assert {k.split(":")[1].split(".")[0] for k in toy.tensors(stored.folder) if k.startswith("head")} == set(features)
    assert set(stored.manifest.metrics) == {f"{t}/{s}" for t in features for s in ("dev", "test")}
