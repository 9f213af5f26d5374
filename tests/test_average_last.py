"""Averaging the last epochs: the weights are the mean of those that ended them, whatever the dev scores say."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch

import toy
from adaptx.config import RunOptions, Settings
from adaptx.errors import AdaptxError
from adaptx.training import prepare, run

OPTIONS = replace(toy.OPTIONS, lr=1e-2, epochs=3, batch_tokens=64)
Weights = dict[str, torch.Tensor]


def trained(settings: Settings, **changes: Any) -> tuple[Weights, list[Weights], Any]:
    """The weights that a run ends with, those at the end of each epoch, and its manifest."""
    from adaptx.engine import loop
    from adaptx.learner import Learner

    ends: list[Weights] = []
    last: list[Weights] = []
    score, train = Learner.dev_score, loop.train

    def now(model: Any) -> Weights:
        return {name: p.detach().clone() for name, p in loop.parameters(model).items()}

    def dev_score(self: Learner) -> float:
        ends.append(now(self.model))
        return score(self)

    def watched(model: Any, *rest: Any) -> Any:
        progress = train(model, *rest)
        last.append(now(model))
        return progress

    with patch.object(Learner, "dev_score", dev_score), patch("adaptx.engine.loop.train", watched):
        stored = run(prepare(settings, "en", "toypos", replace(OPTIONS, **changes)))
    return last[0], ends, stored.manifest


@pytest.mark.parametrize("changes", [{}, {"max_steps": 24}, {"epochs": 2.5}], ids=["whole", "cut off", "a half epoch"])
@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_the_mean_of_the_last_epochs_is_what_a_run_ends_with(
    k: int, changes: dict[str, Any], settings: Settings
) -> None:
    found, ends, _ = trained(settings, average_last=k, **changes)
    assert len(ends) == 4, "three epochs, and the mean is scored"
    for name, value in found.items():
        wanted = torch.stack([e[name].double() for e in ends[:3][-k:]]).mean(0)
        assert torch.allclose(value.double(), wanted, atol=1e-6)
        assert torch.equal(value, ends[3][name])
    if k > 1:
        assert any(not torch.allclose(found[n], ends[2][n], atol=1e-4) for n in found), "epochs differ"


def test_the_dev_score_that_is_kept_is_the_means(settings: Settings) -> None:
    _, _, plain = trained(settings)
    _, _, mean = trained(settings, average_last=3)
    assert plain.recipe.run_id != mean.recipe.run_id
    assert mean.cost["best_step"] == mean.cost["steps"]
    assert mean.recipe.optimiser.patience is None
    assert mean.metrics.keys() == plain.metrics.keys()


def test_without_averaging_run_ids_and_results_are_what_they_were(settings: Settings) -> None:
    recipe = prepare(settings, "en", "toypos", OPTIONS).recipe
    assert "average_last" not in recipe.model_dump_json(exclude_defaults=True)
    assert (
        recipe.model_copy(update={"optimiser": recipe.optimiser.model_copy(update={"average_last": 2})}).run_id
        != recipe.run_id
    )
    with pytest.raises(AdaptxError, match="AX070"):
        RunOptions(average_last=-1)
