"""On a CUDA device: the flash path gives the padded forward's states, no step waits for the GPU, a run resumes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toy
from adaptx import backbones, learner
from adaptx.config import Settings
from adaptx.engine import loop
from adaptx.engine.model import Model, encode_packed, encode_padded
from adaptx.engine.packing import pack
from adaptx.jobs import prepare
from adaptx.training import run
from test_parity import adapted, difference, sequences

pytestmark = pytest.mark.gpu
METHODS = ("full", "pfeiffer", "houlsby", "parallel", "lora", "dora", "ia3")
TASKS = ("toynli", "toypos", "toytext")
CUDA = torch.device("cuda")


@pytest.fixture
def place(world: toy.World, tmp_path: Path) -> Settings:
    return toy.settings(world, tmp_path / "store", device="cuda")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_packed_states_on_a_gpu_are_the_padded_ones(
    method: str, dtype: torch.dtype, within: float, place: Settings
) -> None:
    backbone = backbones.load(backbones.locate(place))
    model = adapted(backbone, method)
    model.encoder.to(CUDA, dtype)
    features = sequences([3, 3, 9, 30, 62])
    batch = pack(features, np.arange(5), backbone.first_position, buckets=False).to(CUDA)
    with torch.no_grad():
        found, wanted = encode_packed(model.encoder, batch), encode_padded(model.encoder, batch)
    assert difference(found.float(), wanted.float()) < within


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", ["full", "pfeiffer", "lora"])
def test_no_step_waits_for_the_gpu(task: str, method: str, place: Settings) -> None:
    options = replace(toy.OPTIONS, method=method, precision="bf16", batch_tokens=256)
    made = learner.build(prepare(place, "en", task, options))
    weights = list(loop.parameters(made.model).values())
    optimiser = loop.optimisers.build("adamw", [{"params": weights}], 1e-3, CUDA)
    hooks = loop.Hooks(made.plan, made.loss, None, lambda *_: None, made.items)
    stepper, work = loop.Stepper(made.model, hooks, optimiser, weights, 1.0), made.plan(0)
    stepper.step(work[0])  # kernels are chosen and moments are made in the first one
    torch.cuda.set_sync_debug_mode("error")
    try:
        for one in work[1:4]:
            stepper.step(one, masks=5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(np.isfinite(stepper.losses()))


@pytest.mark.parametrize("method", ["pfeiffer", "lora"])
def test_products_in_eight_bits_give_about_the_loss_and_gradients_of_bf16(method: str, place: Settings) -> None:
    options = [replace(toy.OPTIONS, method=method, precision=precision) for precision in ("bf16", "int8")]
    (half, wanted), (eight, found) = (
        toy.loss_and_gradients(learner.build(prepare(place, "en", "toypos", o))) for o in options
    )
    assert eight == pytest.approx(half, rel=0.02)
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=0) > 0.99


def test_a_run_on_a_gpu_learns_and_goes_on_from_its_checkpoint(place: Settings, tmp_path: Path) -> None:
    job = prepare(place, "en", "toypos", replace(toy.OPTIONS, precision="bf16", lr=1e-2, epochs=2))
    whole = run(job)
    assert whole.manifest.hardware["gpu"]
    assert whole.manifest.cost["peak_memory_bytes"] > 0

    def stop(event: str, values: dict[str, Any]) -> None:
        if event == "step" and values["step"] >= 4:
            raise KeyboardInterrupt

    again = replace(job, settings=replace(place, store=tmp_path / "other"))
    with pytest.raises(KeyboardInterrupt):
        run(again, stop, checkpoint_seconds=0)
    rest = run(again, checkpoint_seconds=0)
    wanted, found = toy.tensors(whole.folder), toy.tensors(rest.folder)
    assert all(torch.allclose(found[k], wanted[k], atol=5e-2) for k in wanted), "kernels may add in another order"


def test_layers_computed_twice_take_less_of_the_gpus_memory(place: Settings) -> None:
    backbone = backbones.load(backbones.locate(place))
    batch = pack(sequences([60] * 200), np.arange(200), backbone.first_position, buckets=False).to(CUDA)

    def peak(model: Model) -> int:
        torch.cuda.reset_peak_memory_stats()
        model.train(True)
        model.states(batch).float().sum().backward()
        model.encoder.zero_grad()
        return int(torch.cuda.max_memory_allocated())

    model = adapted(backbone, "pfeiffer")
    model.encoder.to(CUDA)
    plain = replace(model, device=CUDA)
    plenty = peak(plain)
    assert peak(replace(plain, checkpointing=True)) < plenty


@pytest.mark.parametrize("method", ["full", "pfeiffer", "lora"])
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_compiled_parts_give_the_losses_and_gradients_of_those_that_are_not(
    method: str, precision: str, place: Settings
) -> None:
    if method == "full" and precision == "int8":
        pytest.skip("it has no frozen weights")
    options = replace(toy.OPTIONS, method=method, precision=precision, batch_tokens=256)
    (plain, wanted), (fused, found) = (
        toy.loss_and_gradients(learner.build(prepare(place, "en", "toynli", replace(options, compile=c))))
        for c in (False, True)
    )
    assert fused == pytest.approx(plain, rel=2e-2)
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=0) > 0.99
