"""What saves memory changes no result: layers computed twice, batches in pieces, moments in 8 bits."""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import toy
from adaptx import backbones, learner
from adaptx.config import RunOptions, Settings
from adaptx.engine import loop
from adaptx.engine.loop import Hooks, LoopOptions, Stepper, Work, parameters
from adaptx.engine.model import Model
from adaptx.engine.packing import Packed, pieces_of
from adaptx.errors import AdaptxError
from adaptx.tasks import kind_of
from adaptx.tasks.heads import Dropout
from adaptx.training import prepare, run
from test_parity import adapted, batch_of, features_of, sequences

METHODS = ("full", "pfeiffer", "houlsby", "parallel", "lora", "dora", "ia3", "prefix")
KINDS = ("classification", "tagging", "span_qa", "multiple_choice", "mlm")


@pytest.fixture
def backbone(settings: Settings) -> backbones.Backbone:
    return backbones.load(backbones.locate(settings))


def kept_bytes(model: Model, batch: Packed) -> tuple[int, dict[str, torch.Tensor]]:
    """What a forward pass keeps for its backward pass, weights not counted, and the gradients that come of it."""
    weights = {p.untyped_storage().data_ptr() for p in model.encoder.parameters()}
    held: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train(True)
    for module in model.encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        states = model.states(batch)
        total = (states.float() * torch.linspace(-1, 1, states.numel()).view_as(states)).sum()
    found = sum(held.values())
    total.backward()  # type: ignore[no-untyped-call]
    gradients = {k: p.grad.clone() for k, p in parameters(model).items() if p.grad is not None}
    model.encoder.zero_grad()
    gc.collect()
    return found, gradients


@pytest.mark.parametrize("method", METHODS)
def test_layers_computed_twice_keep_less_and_give_the_same_gradients(
    method: str, backbone: backbones.Backbone, settings: Settings
) -> None:
    features = sequences([5, 9, 9, 14, 40])
    batch = batch_of(features, backbone)
    plain = adapted(backbone, method)
    plain.packable = settings.registry.method(method).packable
    plenty, wanted = kept_bytes(plain, batch)
    saving = replace(plain, checkpointing=True)
    little, found = kept_bytes(saving, batch)
    assert found.keys() == wanted.keys()
    assert wanted
    assert all(torch.allclose(found[k], wanted[k], rtol=1e-5, atol=1e-6) for k in wanted)
    assert little < 0.6 * plenty


def test_a_run_that_computes_layers_twice_is_the_same_run(settings: Settings) -> None:
    plain, saving = (replace(toy.OPTIONS, gradient_checkpointing=g, batch_tokens=128) for g in (False, True))
    jobs = [prepare(settings, "en", "toypos", o) for o in (plain, saving)]
    assert jobs[0].recipe == jobs[1].recipe
    assert [learner.build(j).model.checkpointing for j in jobs] == [False, True]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [2, 3])
def test_gradients_of_pieces_add_up_to_the_whole_batchs(kind: str, pieces: int, backbone: backbones.Backbone) -> None:
    features, head = features_of(kind, backbone)
    model = adapted(backbone, "pfeiffer", {"task": head})
    module, work = kind_of(toy.task(kind)), Work("task", features, np.arange(features.sequences))
    hooks = Hooks(
        lambda _: [], lambda t, b: module.loss(model(t, b), b), None, lambda *_: None, lambda _, b: module.items(b)
    )
    stepper = Stepper(model, hooks, torch.optim.SGD(list(parameters(model).values())), [], 1.0)

    def gradients(n: int, masks: int = 7) -> tuple[float, dict[str, torch.Tensor]]:
        stepper.pieces = n
        loss, tokens = stepper._gradients(work, masks)
        assert tokens == features.tokens
        found = {k: p.grad.clone() for k, p in parameters(model).items() if p.grad is not None}
        model.encoder.zero_grad()
        model.heads.zero_grad()
        return float(loss), found

    model.heads.train(True)  # with dropout there
    (whole, wanted), (parts, found) = gradients(1), gradients(pieces)
    assert parts == pytest.approx(whole, rel=1e-5)
    drops = any(isinstance(m, Dropout) for m in head.modules())
    assert (gradients(pieces, masks=8)[0] != pytest.approx(whole, rel=1e-4)) is drops
    assert all(torch.allclose(found[k], wanted[k], rtol=1e-4, atol=1e-6) for k in wanted)
    assert max(float(g.abs().max()) for g in wanted.values()) > 1e-4


def test_pieces_divide_no_unit_and_lose_no_sequence() -> None:
    features = sequences([3] * 12)
    features = replace(features, unit=np.repeat(np.arange(4), 3))
    rows = np.array([9, 10, 11, 0, 1, 2, 3, 4, 5])
    for pieces in (1, 2, 3, 8):
        parts = pieces_of(features, rows, pieces)
        assert len(parts) == min(pieces, 3)
        assert sorted(np.concatenate(parts)) == sorted(rows)
        assert all(len(set(features.unit[p])) * 3 == len(p) for p in parts)


def small_device(room: int) -> Callable[[Any], Any]:
    """A learner's hooks on a device that holds no more than `room` tokens."""
    loss = learner.Learner.loss

    def limited(self: learner.Learner, task: str, batch: Packed) -> torch.Tensor:
        if batch.tokens > room:
            raise torch.OutOfMemoryError("no room")
        return loss(self, task, batch)

    return limited


def trained(settings: Settings, report: Callable[[str, dict[str, Any]], None] = lambda *_: None) -> Any:
    return run(prepare(settings, "en", "toypos", replace(toy.OPTIONS, batch_tokens=128, lr=1e-3)), report)


def test_a_batch_too_big_for_the_device_is_taken_in_pieces_and_said_so(
    settings: Settings, world: toy.World, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty = trained(settings)
    told = []
    monkeypatch.setattr(learner.Learner, "loss", small_device(80))
    little = trained(toy.settings(world, tmp_path / "other"), lambda e, v: told.append(v) if e == "split" else None)
    assert told == [{"pieces": 2}], "once for the whole run"
    assert little.manifest.run == plenty.manifest.run, "the same recipe"
    assert little.manifest.cost["tokens"] == plenty.manifest.cost["tokens"]
    wanted, found = toy.tensors(plenty.folder), toy.tensors(little.folder)
    assert all(torch.allclose(found[k], wanted[k], atol=2e-4) for k in wanted)


def test_a_device_without_room_for_one_example_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner.Learner, "loss", small_device(2))
    with pytest.raises(AdaptxError) as caught:
        trained(settings)
    assert caught.value.code == "AX042"


def test_moments_in_8_bits_train_nearly_as_the_usual_ones_and_are_another_recipe(settings: Settings) -> None:
    jobs = [
        prepare(settings, "en", "toypos", RunOptions(method="full", precision="fp32", max_steps=6, optimiser=o))
        for o in ("adamw", "adamw8bit")
    ]
    assert jobs[0].recipe.run_id != jobs[1].recipe.run_id
    usual, small = (toy.tensors(run(j).folder) for j in jobs)
    start = backbones.load(backbones.locate(settings)).state
    moved = {k: usual[f"adapter/model.safetensors:{k}"] - v for k, v in start.items()}
    between = {k: usual[f"adapter/model.safetensors:{k}"] - small[f"adapter/model.safetensors:{k}"] for k in moved}
    distance, way = (float(sum((v.float() ** 2).sum() for v in d.values())) ** 0.5 for d in (between, moved))
    assert way > 0
    assert distance < 0.1 * way


def test_an_unknown_optimiser_is_named_with_those_there_are() -> None:
    with pytest.raises(AdaptxError, match="adamw8bit"):
        RunOptions(optimiser="adam8")
    with pytest.raises(AdaptxError, match="AX070"):
        loop.optimisers.build("sgd", [], 0.1, torch.device("cpu"))


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt(backbone: backbones.Backbone) -> None:
    features, head = features_of("tagging", backbone)
    model = adapted(backbone, "pfeiffer", {"task": head})
    before = {k: p.detach().clone() for k, p in parameters(model).items()}
    work = [Work("task", features, np.arange(features.sequences))]
    hooks = Hooks(lambda _: work, lambda t, b: model(t, b).sum() * float("nan"), None, lambda *_: None)
    with pytest.raises(AdaptxError, match="AX040"):
        loop.train(model, hooks, LoopOptions(1, 64, 0.1, 0))
    assert all(torch.equal(before[k], p) for k, p in parameters(model).items())
