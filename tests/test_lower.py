"""Layers below everything that is trained run once a batch; every number stays what it was without that."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

import toy
from adaptx import backbones
from adaptx import learner as learners
from adaptx.backbones import Backbone
from adaptx.config import RunOptions, Settings
from adaptx.engine.lower import LowerStates, constant_layers
from adaptx.engine.packing import fixed_plan
from adaptx.errors import AdaptxError
from adaptx.jobs import prepare
from adaptx.learner import Learner
from adaptx.stack import Stack
from adaptx.training import run
from test_parity import adapted, batch_of, sequences

TOP = 1  # toy encoders have two layers
UPPER = replace(toy.OPTIONS, adapter_layers=str(TOP), epochs=3, lr=1e-2, batch_tokens=64)


def outcome(settings: Settings, options: RunOptions, keep: bool = True, **more: Any) -> tuple[Any, list[float], int]:
    """Trained weights, dev scores, and how often the lowest layer ran."""
    runs, scores = 0, []
    score, build = Learner.dev_score, learners.build

    def dev_score(self: Learner) -> float:
        scores.append(score(self))
        return scores[-1]

    def built(job: Any) -> Learner:
        def count(*_: Any) -> None:
            nonlocal runs
            runs += 1

        found = build(job)
        found.model.encoder.encoder.layer[0].intermediate.register_forward_hook(count)
        return found

    patches = [patch.object(Learner, "dev_score", dev_score), patch("adaptx.learner.build", built)]
    if not keep:
        patches.append(patch.object(Learner, "keep_lower_states", lambda *_: None))
    for p in patches:
        p.start()
    try:
        stored = run(prepare(settings, "en", "toypos", options, **more))
    finally:
        for p in patches:
            p.stop()
    tensors = {(t.file, t.name): t.sha256 for t in stored.manifest.tensors}
    return tensors, scores, runs


@pytest.mark.parametrize("method", ["pfeiffer", "lora", "probe"])
def test_weights_and_scores_are_the_same_to_the_bit_and_the_lower_layers_run_less(
    method: str, world: toy.World, tmp_path: Path
) -> None:
    options = replace(UPPER, method=method, adapter_layers=None if method == "probe" else UPPER.adapter_layers)
    one, other = (
        outcome(toy.settings(world, tmp_path / str(keep)), options, keep=keep) for keep in (True, False)
    )
    assert one[:2] == other[:2]
    assert one[2] < other[2] / 2, "three epochs and as many evaluations"


def test_it_holds_on_a_frozen_language_adapter_with_invertible_layers(world: toy.World, tmp_path: Path) -> None:
    found = []
    for keep in (True, False):
        settings = toy.settings(world, tmp_path / str(keep))
        below = run(prepare(settings, "en", "toytext", replace(toy.OPTIONS, hyper={"config": "seq_bn_inv"}, lr=1e-2)))
        found.append(outcome(settings, UPPER, keep=keep, stack=Stack((below,))))
    assert found[0][:2] == found[1][:2]
    assert found[0][2] < found[1][2]


def test_a_manifest_says_how_many_layers_and_bytes_were_kept(settings: Settings) -> None:
    cost = run(prepare(settings, "en", "toypos", UPPER)).manifest.cost
    assert cost["constant_layers"] == TOP
    assert cost["kept_bytes"] > 0
    assert "constant_layers" not in run(prepare(settings, "en", "toypos", toy.OPTIONS)).manifest.cost


@pytest.mark.parametrize(
    ("method", "layers", "constant"),
    [("pfeiffer", None, 0), ("lora", None, 0), ("full", None, 0), ("probe", None, TOP), ("pfeiffer", TOP, TOP)],
)
def test_a_layer_is_constant_below_everything_that_is_trained(
    method: str, layers: int | None, constant: int, settings: Settings
) -> None:
    options = replace(toy.OPTIONS, method=method, adapter_layers=None if layers is None else str(layers))
    learner = learners.build(prepare(settings, "en", "toypos", options))
    assert learner.constant_layers == constant
    next(m for m in learner.model.encoder.encoder.layer[0].modules() if isinstance(m, nn.Dropout)).p = 0.1
    assert constant_layers(learner.model.encoder) == 0, "dropout is another number every time"


def test_new_masks_in_every_epoch_are_no_constant(settings: Settings) -> None:
    assert learners.build(prepare(settings, "en", "toytext", UPPER)).constant_layers == 0


def test_epochs_have_the_same_batches_in_orders_of_their_own() -> None:
    features = sequences([5, 9, 3, 7, 8, 4, 6, 5, 9, 2] * 4)
    epochs = [[tuple(b) for b in fixed_plan(features, 32, 0, e)] for e in range(3)]
    assert len({frozenset(e) for e in epochs}) == 1
    assert len({tuple(e) for e in epochs}) == 3
    assert [tuple(b) for b in fixed_plan(features, 32, 0, 1)] == epochs[1]


@pytest.fixture
def backbone(settings: Settings) -> Backbone:
    return backbones.load(backbones.locate(settings))


@pytest.fixture
def lower(tmp_path: Path) -> Callable[[int, int], LowerStates]:
    return lambda memory, disk: LowerStates(TOP, memory, tmp_path / "states", disk)


def test_what_does_not_fit_into_memory_goes_to_disk_and_the_rest_is_computed_again(
    lower: Callable[[int, int], LowerStates], backbone: Backbone
) -> None:
    model = adapted(backbone, "probe")
    batches = [batch_of(sequences([5, 9, 3], seed), backbone) for seed in range(3)]
    with torch.no_grad():
        wanted = [model.states(b) for b in batches]
        size = batches[0].tokens * backbone.hidden_size * 4
        model.lower = lower(size, size)
        for _ in range(2):
            assert all(torch.equal(model.states(b), w) for b, w in zip(batches, wanted, strict=True))
    assert len(model.lower.held) == len(model.lower.written) == 1
    assert model.lower.held_bytes == model.lower.written_bytes == size


def test_a_file_that_changed_is_refused(lower: Callable[[int, int], LowerStates]) -> None:
    states = lower(0, 10_000)
    states.put(b"a", torch.ones(3, 4))
    assert torch.equal(states.get(b"a", torch.device("cpu")), torch.ones(3, 4))  # type: ignore[arg-type]
    assert states.get(b"b", torch.device("cpu")) is None
    path = next(states.folder.iterdir())  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(AdaptxError) as caught:
        states.get(b"a", torch.device("cpu"))
    assert caught.value.code == "AX043"


@pytest.mark.parametrize(("layers", "fine"), [("0-1", True), ("1", True), ("1-0", False), ("0-99", False), ("x", False)])
def test_layers_outside_the_encoder_are_refused(layers: str, fine: bool, settings: Settings) -> None:
    options = replace(toy.OPTIONS, adapter_layers=layers)
    if fine:
        prepare(settings, "en", "toypos", options)
        return
    with pytest.raises(AdaptxError, match="adapter_layers") as caught:
        prepare(settings, "en", "toypos", options)
    assert caught.value.code == "AX070"


def test_the_upper_half_is_the_layers_from_the_middle_on(settings: Settings) -> None:
    upper, named = (prepare(settings, "en", "toypos", replace(toy.OPTIONS, adapter_layers=a)) for a in ("upper", "1"))
    assert upper.recipe == named.recipe


@pytest.mark.parametrize("layers", [str(TOP), ""])
def test_an_adapter_in_no_layer_at_all_is_refused(layers: str, settings: Settings) -> None:
    with pytest.raises(AdaptxError, match="adapter_layers") as caught:
        prepare(settings, "en", "toypos", replace(toy.OPTIONS, adapter_layers=layers, no_last_layer=True))
    assert caught.value.code == "AX070"
