"""Logits that are never whole: their loss and its gradients are those of a usual cross entropy over whole ones."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from adaptx.tasks import logits as module
from adaptx.tasks.logits import Logits

S, H, V = 23, 16, 300
IDS = torch.tensor([3, 17, 299, 0])
BLOCKS = {"one row": 1, "blocks": 4 * V * 5, "all at once": 2**30}


def made(dtype: torch.dtype, trained_rows: bool) -> tuple[Logits, torch.Tensor]:
    """Logits with gradients wanted, and targets; some of them columns in training."""
    random = torch.Generator().manual_seed(0)
    states, table, bias = (torch.randn(*shape, generator=random) for shape in ((S, H), (V, H), (V,)))
    targets = torch.randint(V, (S,), generator=random)
    targets[:4] = IDS
    logits = Logits(states.requires_grad_(), table.to(dtype), bias.requires_grad_())
    if trained_rows:
        logits.ids, logits.rows = IDS, torch.randn(len(IDS), H, generator=random).requires_grad_()
    return logits, targets


def gradients(loss: torch.Tensor, logits: Logits) -> list[torch.Tensor]:
    wanted = [x for x in (logits.states, logits.bias, logits.rows) if x is not None]
    return list(torch.autograd.grad(3 * loss, wanted))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("trained_rows", [False, True])
def test_loss_and_gradients_are_those_of_whole_logits(
    trained_rows: bool, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BYTES", BLOCKS[block])
    logits, targets = made(torch.float32, trained_rows)
    usual, own = cross_entropy(logits.whole(), targets), logits.mean_loss(targets)
    assert own.item() == pytest.approx(usual.item(), rel=1e-6)
    for found, wanted in zip(gradients(own, logits), gradients(usual, logits), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-7)
        assert wanted.abs().max() > 1e-3
    rows = logits.losses(targets)
    assert torch.allclose(rows, cross_entropy(logits.whole(), targets, reduction="none"), rtol=1e-5)
    assert rows.mean().item() == pytest.approx(own.item(), rel=1e-6)


@pytest.mark.parametrize("trained_rows", [False, True])
def test_in_half_precision_they_are_as_near_as_that_is(trained_rows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES", BLOCKS["blocks"])
    logits, targets = made(torch.bfloat16, trained_rows)
    exact, _ = made(torch.float32, trained_rows)
    own, usual = logits.mean_loss(targets), cross_entropy(exact.whole(), targets)
    assert own.item() == pytest.approx(usual.item(), rel=0.02)
    for found, wanted in zip(gradients(own, logits), gradients(usual, exact), strict=True):
        assert (found - wanted).abs().max() < 0.03 * wanted.abs().max()
        assert found.dtype == torch.float32


def test_logits_far_from_zero_have_finite_losses() -> None:
    logits, targets = made(torch.float32, False)
    far = Logits(logits.states * 1e4, logits.table, logits.bias)
    assert torch.isfinite(far.mean_loss(targets))
    assert torch.allclose(far.losses(targets), cross_entropy(far.whole(), targets, reduction="none"))


def test_a_loss_that_is_no_number_stays_one() -> None:
    logits, targets = made(torch.float32, False)
    broken = Logits(logits.states * torch.nan, logits.table, logits.bias)
    assert torch.isnan(broken.mean_loss(targets)), "the training loop stops at it"


def test_no_rows_have_no_losses() -> None:
    logits, targets = made(torch.float32, False)
    assert Logits(logits.states[:0], logits.table, logits.bias).losses(targets[:0]).shape == (0,)


def test_nothing_as_large_as_the_logits_is_kept_for_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES", BLOCKS["blocks"])
    logits, targets = made(torch.float32, True)
    largest = {}
    for name, loss in (("own", logits.mean_loss), ("usual", lambda t: cross_entropy(logits.whole(), t))):
        with torch.profiler.profile(profile_memory=True, record_shapes=False) as seen:
            loss(targets).backward()
        largest[name] = max(event.cpu_memory_usage for event in seen.key_averages())
    assert largest["own"] < S * V * 4 < largest["usual"]
