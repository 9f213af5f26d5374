"""Products with frozen weights in 8-bit integers: how far they may be from exact ones, and what they leave alone."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

import toy
from adaptx import learner as learners
from adaptx.backbones import LINEARS
from adaptx.config import Settings
from adaptx.engine.eightbit import CHUNK, EightBit, Kernels, in_eight_bits
from adaptx.errors import AdaptxError
from adaptx.jobs import prepare
from adaptx.learner import Learner
from adaptx.scoring import cell
from adaptx.stack import Stack
from adaptx.training import run

METHODS = ("pfeiffer", "houlsby", "parallel", "lora", "dora", "ia3", "prefix", "probe")


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    torch.manual_seed(0)
    yield


def test_a_row_is_its_integers_times_its_scale_to_half_a_level() -> None:
    x = torch.randn(50, 33) * torch.logspace(-3, 3, 50)[:, None]
    rows, scale = in_eight_bits(x)
    assert (rows.dtype, rows.abs().max().item()) == (torch.int8, 127)
    assert bool(((rows * scale - x).abs() <= 0.5001 * scale).all())
    assert torch.equal(scale[:, 0], x.abs().amax(1) / 127)


def test_what_eight_bits_can_say_is_multiplied_exactly() -> None:
    """Integers up to 127 in rows and columns that reach it lose nothing but the rounding of the result to bf16."""
    x, weight = torch.randint(-127, 128, (9, 16)).float(), torch.randint(-127, 128, (8, 16)).float()
    x[:, 0] = weight[:, 0] = weight[0] = 127
    given = x.clone().requires_grad_()
    y = EightBit.of(weight, torch.ones(8))(given)
    assert torch.equal(y, (x @ weight.t() + 1).bfloat16())
    grad = torch.randint(-127, 128, (9, 8)).float()
    grad[:, 0] = 127
    y.backward(grad.bfloat16())
    assert given.grad is not None
    assert torch.equal(given.grad, (grad @ weight).bfloat16().float())
    assert torch.equal(x, given.detach())


@pytest.mark.parametrize("rows", [1, CHUNK - 1, CHUNK, 2 * CHUNK + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_and_gradients_are_near_those_of_a_linear_layer(rows: int, dtype: torch.dtype) -> None:
    layer = nn.Linear(64, 96)
    x = torch.randn(2, rows, 64, dtype=dtype)
    grad = torch.randn(2, rows, 96)
    ours, exact = x.clone().requires_grad_(), x.float().requires_grad_()
    y, wanted = EightBit.of(layer.weight, layer.bias)(ours), layer(exact)
    y.backward(grad.bfloat16())
    wanted.backward(grad)
    assert ours.grad is not None and exact.grad is not None
    assert (y.shape, y.dtype, ours.grad.dtype) == (wanted.shape, torch.bfloat16, dtype)
    for found, right in ((y, wanted), (ours.grad, exact.grad)):
        error = (found.float() - right).norm() / right.norm()
        assert 0 < error < 0.02


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    weight = EightBit.of(torch.randn(32, 64), torch.randn(32))
    x = torch.randn(3 * CHUNK, 64)
    x[5] *= 1e4
    order = torch.randperm(len(x))
    assert torch.equal(weight(x)[order], weight(x[order]))
    assert torch.equal(weight(x)[7:8], weight(x[7:8]))


def test_a_row_of_zeros_gives_the_bias_and_no_rows_give_none() -> None:
    weight = EightBit.of(torch.randn(32, 64), torch.arange(32.0))
    assert torch.equal(weight(torch.zeros(1, 64))[0], torch.arange(32.0).bfloat16())
    assert weight(torch.zeros(0, 64)).shape == (0, 32)
    assert Kernels().product(torch.ones(1, 64), weight.forth, weight.output_scale, None).shape == (1, 32)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    x = torch.randn(3, 64)
    x[1, 5] = bad
    y = EightBit.of(torch.randn(32, 64), None)(x)
    assert bool(y[1].isnan().all()) and bool(y[[0, 2]].isfinite().all())


def learner_of(settings: Settings, method: str, precision: str) -> Learner:
    options = replace(toy.OPTIONS, method=method, precision=precision, lr=1e-2, batch_tokens=256)
    return learners.build(prepare(settings, "en", "toypos", options))


@pytest.mark.parametrize("method", METHODS)
def test_every_adapters_loss_and_gradients_are_near_those_in_bf16(method: str, settings: Settings) -> None:
    (half, wanted), (eight, found) = (
        toy.loss_and_gradients(learner_of(settings, method, precision)) for precision in ("bf16", "int8")
    )
    assert eight == pytest.approx(half, rel=0.02)
    assert eight != half
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=0) > 0.99


def test_frozen_weights_of_the_encoder_alone_are_put_into_eight_bits(settings: Settings) -> None:
    encoder = learner_of(settings, "pfeiffer", "int8").model.encoder
    found = {n for n, m in encoder.named_modules() if isinstance(m.__dict__.get("forward"), EightBit)}
    assert found == {f"encoder.layer.{i}.{name}" for i in range(2) for name in LINEARS}
    before = learner_of(settings, "pfeiffer", "bf16").model.encoder.state_dict()
    assert encoder.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize("method", ["full", "qlora"])
def test_what_has_no_frozen_weights_in_full_precision_is_refused(method: str, settings: Settings) -> None:
    with pytest.raises(AdaptxError) as caught:
        prepare(settings, "en", "toypos", replace(toy.OPTIONS, method=method, precision="int8"))
    assert caught.value.code == "AX051"


def test_an_adapter_trained_in_eight_bits_is_another_run_and_scores_in_any_precision(settings: Settings) -> None:
    options = replace(toy.OPTIONS, lr=1e-2, epochs=4)
    runs = {p: run(prepare(settings, "en", "toypos", replace(options, precision=p))) for p in ("fp32", "int8")}
    assert runs["fp32"].manifest.run != runs["int8"].manifest.run
    task = settings.registry.task("toypos")
    scores = {p: cell(settings, Stack((runs["int8"],)), task, "qaa", p).metrics for p in ("fp32", "bf16", "int8")}
    trained = cell(settings, Stack((runs["fp32"],)), task, "qaa", "fp32").metrics
    for found in scores.values():
        assert found["accuracy"] == pytest.approx(trained["accuracy"], abs=0.1)
