"""Save, new process, load: the logits are those of the model that was trained, to the bit, for every method."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import toy
from adaptx import backbones, learner, store
from adaptx.config import Settings
from adaptx.data import sources
from adaptx.data.tokenize import Text
from adaptx.engine.model import Model
from adaptx.engine.packing import Features, batches
from adaptx.jobs import Job
from adaptx.learner import Learner
from adaptx.registry import Registry
from adaptx.scoring import head_of, model_for
from adaptx.stack import Stack
from adaptx.store import Stored
from adaptx.tasks import kind_of
from adaptx.training import prepare, run

PFEIFFER = replace(toy.OPTIONS, method="pfeiffer", max_steps=2)


def logits_of(settings: Settings, stored: Stored) -> torch.Tensor:
    """Head outputs of a stored adapter on the toy test set, [S, C]."""
    files = backbones.locate(settings)
    backbone, task = backbones.load(files), settings.registry.task(stored.recipe.task)
    examples = sources.load(settings, task, stored.recipe.lang, "test").examples
    heads = {task.id: head_of(stored, backbone, task)}
    model = model_for(settings, backbone, Stack((stored,)), stored.recipe.precision, heads)
    text = Text.of(backbone, task.train.max_tokens)
    return logits(model, task.id, kind_of(task).features(examples, text, stored.manifest.labels[task.id], task))


def logits(model: Model, name: str, features: Features) -> torch.Tensor:
    model.train(False)
    with torch.no_grad():
        return torch.cat([model(name, b) for b in batches(features, 128, model.first_position, model.buckets)])


def exactly(values: torch.Tensor) -> list[list[str]]:
    return [[x.hex() for x in row] for row in values.tolist()]


def print_logits(world: toy.World, place: Path) -> None:
    """For the tests below, in a process of its own: logits of every adapter in the store, or what went wrong."""
    torch.set_num_threads(1)
    settings, out = toy.settings(world, place), dict[str, Any]()
    for found in store.listing(place):
        try:
            out[found.manifest.run] = exactly(logits_of(settings, store.verified(found.folder)))
        except Exception as error:
            out[found.manifest.run] = f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps(out))


VARIANTS = [*((m, "fp32") for m in Registry().methods()), ("pfeiffer", "bf16"), ("lora", "bf16")]
TASKS = ("toynli", "toypos")


@dataclass
class Reloaded:
    """Runs of this process by (task, method, precision): the adapter and its live logits, or the error; and the
    logits that another process printed, by run."""

    settings: Settings
    live: dict[tuple[str, str, str], tuple[Stored, torch.Tensor] | Exception]
    printed: dict[str, Any]


@pytest.fixture(scope="module")
def reloaded(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Reloaded:
    torch.set_num_threads(1)
    settings = toy.settings(world, tmp_path_factory.mktemp("reloaded") / "store")
    learners: list[Learner] = []
    build = learner.build
    out = Reloaded(settings, {}, {})

    def recorded(job: Job) -> Learner:
        learners.append(build(job))
        return learners[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "build", recorded)
        for name in TASKS:
            for method, precision in VARIANTS:
                options = replace(PFEIFFER, method=method, precision=precision, lr=1e-2)
                try:
                    stored = run(prepare(settings, "en", name, options))
                    values = logits(learners[-1].model, name, learners[-1].parts[name].features["test"])
                    out.live[name, method, precision] = stored, values
                except Exception as error:
                    out.live[name, method, precision] = error
    call = "test_reload.print_logits(toy.World(Path(sys.argv[1])), Path(sys.argv[2]))"
    code = f"import sys, test_reload, toy; from pathlib import Path; {call}"
    out.printed = json.loads(toy.python(code, world.root, settings.store))
    return out


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("method", "precision"), VARIANTS)
def test_a_trained_model_gives_equal_logits_after_saving_and_in_another_process(
    method: str, precision: str, name: str, reloaded: Reloaded
) -> None:
    found = reloaded.live[name, method, precision]
    if isinstance(found, Exception):
        raise found
    stored, values = found
    assert torch.equal(values, logits_of(reloaded.settings, stored)), "loaded in this process"
    assert reloaded.printed[stored.manifest.run] == exactly(values), "loaded in another process"


def test_equal_logits_mean_something_because_every_adapter_gives_others(reloaded: Reloaded) -> None:
    said = [json.dumps(v) for v in reloaded.printed.values()]
    assert len(said) >= len(TASKS)
    assert len(set(said)) == len(said)
