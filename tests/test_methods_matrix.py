"""Every method x every operation: train, save, load, resume, load elsewhere, start from, stack; the backbone unchanged."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import pytest
import torch

import toy
from adaptx import backbones, learner, store
from adaptx.backbones import Backbone
from adaptx.config import Settings
from adaptx.engine.model import encode_padded
from adaptx.engine.packing import Features, batches
from adaptx.errors import AdaptxError
from adaptx.learner import Learner
from adaptx.methods import trainable
from adaptx.registry import Registry
from adaptx.scoring import head_of, model_for
from adaptx.stack import Stack, assemble
from adaptx.store import Stored
from adaptx.training import prepare, run
from test_interop import PLAINLY, TEXTS, in_rows, our_batch, plain_inputs

METHODS = Registry().methods()
FROZEN = [m for m, spec in METHODS.items() if spec.family != "full"]
ADAPTERS = [m for m in FROZEN if METHODS[m].family != "probe"]
STACKABLE = [m for m in ADAPTERS if METHODS[m].stackable]
OPTIONS = replace(toy.OPTIONS, epochs=1, max_steps=4, lr=5e-2, batch_tokens=96)
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Trained:
    """A run with what was seen of it: all weights before and after, which of them train, and logits [S, C]."""

    stored: Stored
    model: Learner
    before: Weights
    after: Weights
    trains: set[str]
    logits: torch.Tensor
    backbone: tuple[str, str]  # hashes of the shared weights before and after


def weights_of(found: Learner) -> Weights:
    parts = {"encoder": found.model.encoder, "heads": found.model.heads}
    return {f"{k}.{n}": p.detach().clone() for k, m in parts.items() for n, p in m.named_parameters()}


def fingerprint(backbone: Backbone) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def logits_of(model: Any, features: Features) -> torch.Tensor:
    model.train(False)
    with torch.no_grad():
        return torch.cat([model("toynli", b) for b in batches(features, 256, model.first_position, model.buckets)])


def train(settings: Settings, method: str, **origin: Any) -> Trained:
    """A few steps of real training, watched."""
    seen: list[Learner] = []
    build = learner.build

    def watched(job: Any) -> Learner:
        seen.append(build(job))
        starts.append(weights_of(seen[0]))
        return seen[0]

    starts: list[Weights] = []
    backbone = backbones.load(backbones.locate(settings))
    shared = fingerprint(backbone)
    with patch("adaptx.learner.build", watched):
        stored = run(prepare(settings, "en", "toynli", replace(OPTIONS, method=method), **origin))
    [found] = seen
    trains = {
        f"{k}.{n}" for k, m in (("encoder", found.model.encoder), ("heads", found.model.heads)) for n in trainable(m)
    }
    features = found.parts["toynli"].features["test"]
    logits = logits_of(found.model, features)
    return Trained(stored, found, starts[0], weights_of(found), trains, logits, (shared, fingerprint(backbone)))


@pytest.fixture(scope="module")
def place(settings_on: Callable[[str], Settings]) -> Settings:
    torch.set_num_threads(1)
    return settings_on("bert")


@pytest.fixture(scope="module")
def trained(place: Settings) -> Callable[[str], Trained]:
    found: dict[str, Trained] = {}

    def once(method: str) -> Trained:
        if method not in found:
            found[method] = train(place, method)
        return found[method]

    return once


def reloaded(settings: Settings, adapters: tuple[Stored, ...], like: Trained) -> torch.Tensor:
    backbone = backbones.load(backbones.locate(settings))
    heads = {"toynli": head_of(adapters[-1], backbone, like.model.job.tasks[0])}
    model = model_for(settings, backbone, Stack(adapters), "fp32", heads)
    return logits_of(model, like.model.parts["toynli"].features["test"])


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.mark.parametrize("method", METHODS)
def test_training_changes_what_it_says_it_trains_and_nothing_else(
    method: str, trained: Callable[[str], Trained]
) -> None:
    found = trained(method)
    assert found.before.keys() == found.after.keys()
    changed = {n for n in found.before if not torch.equal(found.before[n], found.after[n])}
    assert changed == found.trains
    own = {n for n in found.trains if n.startswith("encoder.")}
    assert bool(own) is (METHODS[method].family != "probe")
    assert found.stored.manifest.cost["trainable_parameters"] == sum(found.after[n].numel() for n in own)
    assert found.stored.manifest.cost["steps"] == 4


@pytest.mark.parametrize("method", METHODS)
def test_the_backbone_that_all_encoders_share_is_bit_identical(method: str, trained: Callable[[str], Trained]) -> None:
    before, after = trained(method).backbone
    assert before == after


@pytest.mark.parametrize("method", METHODS)
def test_the_folder_holds_what_was_trained_and_nothing_of_the_backbone(
    method: str, trained: Callable[[str], Trained]
) -> None:
    found = trained(method)
    saved = toy.tensors(found.stored.folder)
    assert len(saved) == len(found.stored.manifest.tensors)
    assert all(v.dtype == torch.float32 and v.isfinite().all() for v in saved.values())
    adapter = sum(v.numel() for n, v in saved.items() if n.startswith("adapter/"))
    cost, family = found.stored.manifest.cost, METHODS[method].family
    if family == "full":
        assert adapter == sum(v.numel() for v in backbones.load(found.model.job.files).state.values())
    elif METHODS[method].hyper.get("config") != "prefix_tuning":
        assert adapter == cost["trainable_parameters"]
    else:
        assert 0 < adapter <= cost["trainable_parameters"] * 3
    head = sum(v.numel() for n, v in saved.items() if n.startswith("head."))
    assert head == cost["head_parameters"]


@pytest.mark.parametrize("method", METHODS)
def test_loading_gives_the_logits_of_training_and_other_weights_give_others(
    method: str, trained: Callable[[str], Trained], place: Settings, settings: Settings
) -> None:
    found = trained(method)
    assert difference(reloaded(place, (found.stored,), found), found.logits) < 1e-5
    other = toy.made(settings, method, seed=5)
    assert difference(reloaded(settings, (other,), found), found.logits) > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_goes_on_to_the_same_bits(
    method: str, trained: Callable[[str], Trained], settings: Settings
) -> None:
    whole = trained(method).stored
    job = prepare(settings, "en", "toynli", replace(OPTIONS, method=method))

    def stop(event: str, values: dict[str, Any]) -> None:
        if event == "step" and values["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, stop, checkpoint_seconds=0)
    assert job.done is None
    steps: list[int] = []
    resumed = run(job, lambda event, values: steps.append(values["step"]) if event == "step" else None)
    assert steps == [3, 4], "it went on where it stood"
    assert resumed.manifest.run == whole.manifest.run
    ours, theirs = toy.tensors(resumed.folder), toy.tensors(whole.folder)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert not store.scratch(settings.store, job.recipe.run_id).exists()


@pytest.mark.parametrize("method", METHODS)
def test_another_tool_reads_the_folder_and_gives_our_states(
    method: str, trained: Callable[[str], Trained], place: Settings
) -> None:
    found, family = trained(method).stored, METHODS[method].family
    if family == "probe":
        assert list(found.adapter.iterdir()) == [], "the head is all there is"
        return
    folder = backbones.locate(place).folder
    inputs = plain_inputs(folder)
    theirs = PLAINLY[family](folder, found.adapter, inputs)
    backbone, batch = our_batch(place)
    encoder = assemble(Stack((found,)), backbone, place.registry, "fp32", "cpu")
    with torch.no_grad():
        ours, bare = encode_padded(encoder, batch), encode_padded(backbone.encoder(), batch)
    rows, plain = in_rows(ours, batch), in_rows(bare, batch)
    lengths = inputs["attention_mask"].sum(1).tolist()
    apart = max(difference(rows[i], theirs[i, : lengths[i]]) for i in range(len(TEXTS)))
    if METHODS[method].hyper.get("quantise"):
        assert apart < 0.5 * max(difference(rows[i], plain[i]) for i in range(len(TEXTS))), "only the rounding differs"
    else:
        assert apart < 1e-4
    assert max(difference(rows[i], plain[i]) for i in range(len(TEXTS))) > 1e-2, "the adapter does something"


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_starts_from_another_takes_its_weights_and_a_fresh_head(
    method: str, trained: Callable[[str], Trained], place: Settings
) -> None:
    origin = trained(method)
    job = prepare(place, "qaa", "toypos", replace(OPTIONS, method=method), init_from=origin.stored)
    started = learner.build(job)
    theirs, ours = origin.after, weights_of(started)

    def core(name: str) -> str:
        return name.replace("qaa_toypos", "*").replace("en_toynli", "*")

    own = {core(n): v for n, v in theirs.items() if n in origin.trains and n.startswith("encoder.")}
    found = {core(n): v for n, v in ours.items() if core(n) in own}
    if METHODS[method].family != "full":  # there the rows of the embeddings that train depend on the data
        assert found.keys() == own.keys()
        assert all(torch.equal(found[n], own[n]) for n in own)
    else:
        assert all(torch.equal(found[n], own[n]) for n in own if "embeddings.word" not in n)
    assert {n.split(".")[1] for n in ours if n.startswith("heads.")} == {"toypos"}
    assert [(p.how, p.run) for p in job.recipe.parents] == [("init_from", origin.stored.manifest.run)]


@pytest.mark.parametrize("method", STACKABLE)
def test_on_a_language_adapter_both_act_and_only_the_upper_one_trains(
    method: str, trained: Callable[[str], Trained], place: Settings
) -> None:
    language = toy.made(place, method, "qaa", "toytext", lambda model: toy.perturb(model, 0.3))
    alone = trained(method)
    assert difference(reloaded(place, (language, alone.stored), alone), alone.logits) > 1e-3, "the lower one acts"
    stacked = train(place, method, stack=Stack((language,)))
    lower = {n for n in stacked.before if "qaa_toytext" in n}
    assert lower
    assert lower & stacked.trains == set()
    assert all(torch.equal(stacked.before[n], stacked.after[n]) for n in lower)
    assert all(p.grad is None for n, p in stacked.model.model.encoder.named_parameters() if "qaa_toytext" in n)
    assert stacked.backbone[0] == stacked.backbone[1]
    again = reloaded(place, (language, stacked.stored), stacked)
    assert difference(again, stacked.logits) < 1e-5
    assert difference(reloaded(place, (stacked.stored,), stacked), stacked.logits) > 1e-3, "the upper one stands on it"


def test_on_a_mad_x_language_adapter_the_invertible_part_acts(place: Settings) -> None:
    hyper = {"config": "seq_bn_inv", "reduction_factor": 2}
    options = replace(OPTIONS, hyper=hyper)
    with toy.instead_of_training(lambda model: toy.perturb(model, 0.3)):
        language = run(prepare(place, "qaa", "toytext", options))
    assert any("invertible" in n for n in toy.tensors(language.folder))
    stacked = train(place, "pfeiffer", stack=Stack((language,)))
    frozen = [n for n in stacked.before if "invertible" in n]
    assert frozen
    assert not set(frozen) & stacked.trains
    assert difference(reloaded(place, (language, stacked.stored), stacked), stacked.logits) < 1e-5


@pytest.mark.parametrize("method", [m for m in METHODS if m not in STACKABLE])
def test_what_does_not_compose_is_refused_or_changes_nothing(
    method: str, trained: Callable[[str], Trained], place: Settings
) -> None:
    language, found = toy.made(place, method, "qaa", "toytext"), trained(method)
    if METHODS[method].family == "probe":
        assert difference(reloaded(place, (language, found.stored), found), found.logits) < 1e-6
        return
    with pytest.raises(AdaptxError) as caught:
        reloaded(place, (language, found.stored), found)
    assert caught.value.code == "AX051"
    with pytest.raises(AdaptxError) as caught:
        train(place, method, stack=Stack((language,)))
    assert caught.value.code == "AX051"
