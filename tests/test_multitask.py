"""Several tasks under one adapter: heads of their own, batches shared by a rule, scores of each, exact resume."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import toy
from adaptx import backbones, store
from adaptx.config import RunOptions, Settings
from adaptx.engine import checkpoint
from adaptx.engine.packing import pack
from adaptx.errors import AdaptxError
from adaptx.learner import Learner, batch_shares, build
from adaptx.methods import trainable
from adaptx.recipe import Mixing
from adaptx.scoring import cell
from adaptx.stack import Stack
from adaptx.store import Stored
from adaptx.training import prepare, run

BOTH = "toynli+toypos"
OPTIONS = replace(toy.OPTIONS, batch_tokens=64, lr=1e-2)
METHODS = ("pfeiffer", "lora", "full")


@pytest.fixture(scope="module")
def trained_by(settings_on: Callable[[str], Settings]) -> Callable[[str], Stored]:
    """The finished run of a method that nobody disturbed."""
    return lambda method: run(prepare(settings_on("bert"), "en", BOTH, replace(OPTIONS, method=method)))


def learner_of(settings: Settings, options: RunOptions = OPTIONS, task: str = BOTH) -> Learner:
    return build(prepare(settings, "en", task, options))


def test_shares_follow_the_sizes_their_root_or_nothing() -> None:
    sizes = {"small": 10, "large": 90}
    assert batch_shares(sizes, Mixing()) == {"small": 10, "large": 90}
    assert batch_shares(sizes, Mixing(temperature=2)) == {"small": 25, "large": 75}
    assert batch_shares(sizes, Mixing(temperature=0)) == {"small": 50, "large": 50}
    assert batch_shares({"tiny": 1, "large": 999}, Mixing())["tiny"] == 1
    assert batch_shares({"tiny": 1, "huge": 10**6}, Mixing(temperature=0.5))["tiny"] == 1, "no task is left out"
    for temperature in (1.0, 1.5, 3.0, 5.0):
        found = batch_shares(sizes, Mixing(temperature=temperature))
        assert abs(sum(found.values()) - 100) <= 1, "an epoch is as long as the tasks together"
        assert found["small"] / found["large"] == pytest.approx((10 / 90) ** (1 / temperature), rel=0.05)


@pytest.mark.parametrize(("temperature", "rule"), [(1.0, "proportional"), (2.0, "by the root"), (0.0, "uniform")])
def test_an_epoch_interleaves_batches_in_these_shares(temperature: float, rule: str, settings: Settings) -> None:
    learner = learner_of(settings, replace(OPTIONS, temperature=temperature))
    own = {t: len(learner_of(settings, task=t).plan(0)) for t in BOTH.split("+")}
    assert own["toynli"] != own["toypos"]
    expected = batch_shares(own, Mixing(temperature=temperature))
    for epoch in (0, 1):
        plan = learner.plan(epoch)
        assert Counter(w.task for w in plan) == expected
        runs = sum(a.task != b.task for a, b in zip(plan, plan[1:], strict=False))
        assert runs > 2, "batches of the tasks alternate"
        for work in plan:
            assert work.features.tokens == learner.parts[work.task].features["train"].tokens


def described(learner: Learner, epoch: int) -> list[tuple[str, list[int]]]:
    return [(w.task, w.rows.tolist()) for w in learner.plan(epoch)]


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else(settings: Settings) -> None:
    learner = learner_of(settings)
    first = described(learner, 0)
    described(learner, 5)
    assert described(learner, 0) == first == described(learner_of(settings), 0)
    assert described(learner, 1) != first
    assert described(learner_of(settings, replace(OPTIONS, seed=1)), 0) != first


@pytest.mark.parametrize("task", ["toynli", "toypos"])
def test_with_one_task_every_epoch_holds_every_example_exactly_once(task: str, settings: Settings) -> None:
    learner = learner_of(settings, task=task)
    for epoch in range(6):
        rows = np.concatenate([w.rows for w in learner.plan(epoch)])
        assert sorted(rows.tolist()) == list(range(learner.parts[task].features["train"].sequences))


def test_a_uniform_mixture_repeats_the_smaller_task_evenly(settings: Settings) -> None:
    learner = learner_of(settings, replace(OPTIONS, temperature=0.0))
    plan = [w for w in learner.plan(0) if w.task == "toypos"]
    times = Counter(np.concatenate([w.rows for w in plan]).tolist())
    assert set(times) == set(range(40)), "nothing is left out"
    assert max(times.values()) - min(times.values()) <= 1


def test_each_task_has_a_head_of_its_own_and_both_share_one_adapter(settings: Settings) -> None:
    learner = learner_of(settings)
    model = learner.model
    assert set(model.heads) == {"toynli", "toypos"}
    shared = {id(p) for p in model.heads["toynli"].parameters()} & {id(p) for p in model.heads["toypos"].parameters()}
    assert shared == set()
    adapter = trainable(model.encoder)
    for task, other in (("toynli", "toypos"), ("toypos", "toynli")):
        for parameter in (*adapter.values(), *model.heads.parameters()):
            parameter.grad = None
        toy.perturb(model)
        work = next(w for w in learner.plan(0) if w.task == task)
        learner.loss(task, pack(work.features, work.rows, model.first_position)).backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is None for p in model.heads[other].parameters())
        assert all(p.grad is not None for p in model.heads[task].parameters())
        assert all(p.grad is not None and p.grad.any() for p in adapter.values())


@pytest.mark.parametrize("method", METHODS)
def test_the_folder_holds_one_adapter_and_every_head(method: str, trained_by: Callable[[str], Stored]) -> None:
    stored = trained_by(method)
    assert stored.recipe.task == BOTH
    assert stored.ref.startswith(f"en/{BOTH}:{method}@")
    heads = [n for n in toy.tensors(stored.folder) if n.startswith("head.safetensors:")]
    assert Counter(n.partition(":")[2].split(".")[0] for n in heads) == {"toynli": 4, "toypos": 2}
    assert stored.manifest.labels == {"toynli": toy.LABELS, "toypos": toy.TAGS}
    assert stored.manifest.metrics.keys() == {f"{t}/{s}" for t in BOTH.split("+") for s in ("dev", "test")}
    assert {d.task for d in stored.recipe.data} == {"toynli", "toypos"}
    assert stored.manifest.licences == ("CC-BY-NC-4.0", "CC0-1.0")


@pytest.mark.parametrize("method", METHODS)
def test_every_head_is_scored_alone_and_gives_the_scores_of_its_training(
    method: str, trained_by: Callable[[str], Stored], settings_on: Callable[[str], Settings]
) -> None:
    stored, settings = trained_by(method), settings_on("bert")
    for task in ("toynli", "toypos"):
        found = cell(settings, Stack((stored,)), settings.registry.task(task), "en", "fp32")
        assert found.metrics == pytest.approx(stored.manifest.metrics[f"{task}/test"])
    single = run(prepare(settings, "en", "toynli", replace(OPTIONS, method=method)))
    with pytest.raises(AdaptxError, match="its head is made for toynli"):
        cell(settings, Stack((single,)), settings.registry.task("toypos"), "en", "fp32")


def test_training_both_teaches_both(settings: Settings) -> None:
    learner = learner_of(settings)
    learner.model.train(False)
    before = {t: learner.scores(t, "dev")["accuracy"] for t in learner.parts}
    stored = run(prepare(settings, "en", BOTH, replace(OPTIONS, method="full", epochs=8, lr=3e-3)))
    after = {t: stored.manifest.metrics[f"{t}/dev"]["accuracy"] for t in learner.parts}
    assert after["toypos"] > max(0.8, before["toypos"])
    assert after["toynli"] > before["toynli"] or after["toynli"] > 0.5


def test_checkpoints_are_selected_by_the_mean_over_tasks(settings: Settings) -> None:
    learner = learner_of(settings)
    learner.model.train(False)
    scores = [learner.scores("toynli", "dev")["accuracy"], learner.scores("toypos", "dev")["f1"]]
    assert learner.dev_score() == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [7, 25], ids=["in the first epoch", "in the second epoch"])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    at: int, method: str, settings: Settings, trained_by: Callable[[str], Stored]
) -> None:
    torch.set_num_threads(1)
    whole = trained_by(method)
    assert whole.manifest.cost["steps"] > 25
    job = prepare(settings, "en", BOTH, replace(OPTIONS, method=method))

    def stop(event: str, values: dict[str, Any]) -> None:
        if event == "step" and values["step"] == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, stop, checkpoint_seconds=0)
    assert checkpoint.exists(store.scratch(settings.store, job.recipe.run_id) / "checkpoint")
    steps: list[int] = []
    resumed = run(job, lambda event, values: steps.append(values["step"]) if event == "step" else None)
    assert steps[0] == at, "the step after the last checkpoint"
    assert resumed.manifest.run == whole.manifest.run
    assert resumed.manifest.metrics == whole.manifest.metrics
    ours, theirs = toy.tensors(resumed.folder), toy.tensors(whole.folder)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_the_recipe_knows_the_tasks_but_not_their_order(settings: Settings) -> None:
    def recipe(task: str, **changes: Any) -> Any:
        return prepare(settings, "en", task, replace(OPTIONS, **changes)).recipe

    assert recipe("toypos+toynli") == recipe(BOTH) == recipe("toynli+toypos+toynli")
    assert recipe(BOTH).mixing == Mixing(temperature=1)
    assert recipe(BOTH).run_id != recipe(BOTH, temperature=0.0).run_id
    assert recipe("toynli").mixing is None
    assert recipe("toynli").run_id == recipe("toynli", temperature=0.0).run_id, "one task has no mixture"
    assert len({recipe(t).run_id for t in (BOTH, "toynli", "toypos")}) == 3
    assert [t.id for t in recipe(BOTH).tasks] == ["toynli", "toypos"]
    assert backbones.locate(settings).name == recipe(BOTH).backbone.name


@pytest.mark.parametrize(
    ("task", "code"), [("toynli+", "AX002"), ("toynli+nosuch", "AX002"), ("toynli+toypairs", "AX051")]
)
def test_tasks_that_cannot_be_trained_together_are_refused(task: str, code: str, settings: Settings) -> None:
    with pytest.raises(AdaptxError) as caught:
        prepare(settings, "en", task, OPTIONS)
    assert caught.value.code == code
