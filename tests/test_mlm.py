"""Masked language modelling: which tokens are chosen and how they are hidden, perplexity, the head and what it ties."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import toy
from adaptx import backbones, methods
from adaptx.backbones import Backbone
from adaptx.config import RunOptions, Settings
from adaptx.data.examples import DocumentExample
from adaptx.data.tokenize import Text
from adaptx.engine.loop import Hooks, Stepper, parameters
from adaptx.engine.model import Model, encode_padded, summarise
from adaptx.engine.packing import Features, pack
from adaptx.learner import Learner, build
from adaptx.metrics import METRICS
from adaptx.registry import Registry
from adaptx.tasks import mlm
from adaptx.tasks.mlm import MaskedHead
from adaptx.training import prepare, run

MADX = replace(toy.OPTIONS, hyper={"config": "seq_bn_inv", "reduction_factor": 2})
DOCUMENTS = [
    DocumentExample("short", "bado nugi ."),
    DocumentExample("empty", ""),
    DocumentExample("long", "kelaju hajute gotu dafihore . " * 40),
    DocumentExample("unknown", "bado ЖЖЖ nugi 77 . " * 9),
    *(DocumentExample(str(i), "tusa pame ropi . lemi vilo sefi sabu . " * 30) for i in range(40)),
]


def backbone_of(world: toy.World, model_type: str) -> Backbone:
    return backbones.load(backbones.locate(toy.settings(world, world.root / "none", model_type)))


@pytest.fixture(scope="module")
def text(world: toy.World) -> Text:
    return Text.of(backbone_of(world, "bert"), 24)


@pytest.fixture(scope="module")
def blocks(text: Text) -> Features:
    return mlm.features(DOCUMENTS, text, (), toy.task("mlm"))


def tokens_of(features: Features, block: int) -> list[int]:
    return features.ids[features.offsets[block] : features.offsets[block + 1]].tolist()  # type: ignore[no-any-return]


def places(features: Features) -> np.ndarray[Any, Any]:
    """Where in `ids` the chosen tokens are."""
    block = np.repeat(np.arange(features.sequences), np.diff(features.select_offsets))
    return np.asarray(features.offsets[block] + features.select)


def test_every_token_of_a_document_is_in_exactly_one_block(blocks: Features, text: Text) -> None:
    assert len(blocks.select) == 0, "masks come with each epoch"
    for i, document in enumerate(DOCUMENTS):
        own = [tokens_of(blocks, int(b)) for b in np.flatnonzero(blocks.example == i)]
        assert all(b[0] == text.special["start"] and b[-1] == text.special["end"] for b in own)
        assert [t for b in own for t in b[1:-1]] == text.tokenizer.encode(document.text, add_special_tokens=False).ids
        assert [len(b) for b in own[:-1]] == [text.max_tokens] * (len(own) - 1), "blocks are full but for the last"
    assert (np.diff(blocks.offsets) > 2).all(), "no block is empty"


def test_fifteen_percent_are_chosen_and_hidden_eighty_ten_ten(blocks: Features, text: Text) -> None:
    candidates = ~np.isin(blocks.ids, list(text.special.values()))
    draws = [mlm.refresh(blocks, text, 0, epoch) for epoch in range(20)]

    def within(count: int, n: int, share: float) -> bool:
        """Five standard deviations: wrong by chance once in a million."""
        return abs(count - n * share) < 5 * math.sqrt(n * share * (1 - share))

    chosen = np.concatenate([places(d) for d in draws])
    assert within(len(chosen), 20 * int(candidates.sum()), 0.15)
    shown = np.concatenate([d.ids[places(d)] for d in draws])
    original = blocks.ids[chosen]
    masked, same = shown == text.special["mask"], shown == original
    assert within(int(masked.sum()), len(chosen), 0.8)
    # a random token is drawn as tokens occur, so it can be the original one
    frequency = np.bincount(blocks.ids[candidates]) / candidates.sum()
    hit = float((frequency**2).sum())
    assert hit < 0.2
    assert within(int(same.sum()), len(chosen), 0.1 + 0.1 * hit)
    other = shown[~masked & ~same]
    assert within(len(other), len(chosen), 0.1 * (1 - hit))
    assert len(np.unique(other)) > 10
    assert np.isin(other, blocks.ids[candidates]).all()


def test_targets_are_the_original_tokens_and_nothing_else_changes(blocks: Features, text: Text) -> None:
    drawn = mlm.refresh(blocks, text, 3, 1)
    at = places(drawn)
    assert len(at) == len(np.unique(at)) == len(drawn.targets)
    assert drawn.targets.tolist() == blocks.ids[at].tolist()
    assert not np.isin(blocks.ids[at], list(text.special.values())).any(), "special tokens are never chosen"
    untouched = np.setdiff1d(np.arange(len(blocks.ids)), at)
    assert (drawn.ids[untouched] == blocks.ids[untouched]).all()
    assert (drawn.ids[at] != blocks.ids[at]).any()
    assert drawn.select_offsets[-1] == len(drawn.select)
    for b in range(drawn.sequences):
        inside = drawn.select[drawn.select_offsets[b] : drawn.select_offsets[b + 1]]
        assert ((inside > 0) & (inside < blocks.offsets[b + 1] - blocks.offsets[b] - 1)).all()


def test_masks_are_fresh_in_every_epoch_and_the_same_for_every_evaluation(blocks: Features, text: Text) -> None:
    def drawn(seed: int, epoch: int) -> tuple[bytes, bytes]:
        found = mlm.refresh(blocks, text, seed, epoch)
        return found.ids.tobytes(), found.select.tobytes()

    assert drawn(0, 3) == drawn(0, 3)
    different = [drawn(0, -1), drawn(0, 0), drawn(0, 1), drawn(1, 0), drawn(1, 1)]
    assert len(set(different)) == len(different)
    before = blocks.ids.copy()
    drawn(0, 0)
    assert (blocks.ids == before).all(), "the blocks themselves stay"


def some_states(learner: Learner, n: int) -> torch.Tensor:
    width = learner.model.encoder.config.hidden_size
    return torch.randn(n, width, generator=torch.Generator().manual_seed(0))


def learner_of(settings: Settings, options: RunOptions = toy.OPTIONS, lang: str = "en") -> Learner:
    return build(prepare(settings, lang, "toytext", options))


def test_a_learner_draws_new_masks_for_training_and_keeps_those_for_evaluation(settings: Settings) -> None:
    learner = learner_of(settings)
    assert len({id(work.features) for work in learner.plan(0)}) == 1, "masks are drawn once an epoch"
    shown = [learner.plan(epoch)[0].features.ids.tobytes() for epoch in (0, 1, 0)]
    assert shown[0] == shown[2] != shown[1]
    learner.model.train(False)
    assert learner.scores("toytext", "dev") == learner.scores("toytext", "dev")


@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
def test_perplexity_is_the_exponential_of_the_mean_negative_log_likelihood(
    model_type: str, world: toy.World, tmp_path: Path
) -> None:
    learner = learner_of(toy.settings(world, tmp_path / "store", model_type))
    toy.perturb(learner.model)
    learner.model.train(False)
    features = mlm.refresh(learner.parts["toytext"].features["dev"], learner.parts["toytext"].text, 0, -1)
    total, count = 0.0, 0
    per_document = np.zeros((len(learner.job.data["toytext"]["dev"].examples), 2))
    for row in range(features.sequences):
        batch = pack(features, np.array([row]), learner.model.first_position)
        if not len(batch.targets):
            continue
        with torch.no_grad():
            states = encode_padded(learner.model.encoder, batch)[batch.select]
            logits = learner.model.heads["toytext"](states).whole()
        nats = -logits.log_softmax(-1)[range(len(batch.targets)), batch.targets]
        total, count = total + nats.sum().item(), count + len(nats)
        per_document[features.example[row]] += nats.sum().item(), len(nats)
    expected = math.exp(total / count)
    assert learner.scores("toytext", "dev")["perplexity"] == pytest.approx(expected, rel=1e-4)
    summary = summarise(learner.model, "toytext", features, mlm.summary, 512)
    examples = learner.job.data["toytext"]["dev"].examples
    decoded = mlm.decode(summary, features, examples, (), learner.job.tasks[0])
    assert np.allclose(decoded, per_document, rtol=1e-4)
    assert learner.dev_score() == pytest.approx(-expected, rel=1e-4), "lower is better"
    assert METRICS["perplexity"].score(decoded, mlm.references(examples)) == pytest.approx(expected, rel=1e-4)


def test_the_output_matrix_is_the_word_embeddings_and_neither_trained_nor_saved(settings: Settings) -> None:
    learner = learner_of(settings)
    head, table = learner.model.heads["toytext"], learner.model.encoder.embeddings.word_embeddings.weight
    assert isinstance(head, MaskedHead)
    assert torch.equal(head.table, table)
    assert {n for n in parameters(learner.model) if n.startswith("head.")} == {
        f"head.toytext.{n}" for n in ("bias", "dense.weight", "dense.bias", "norm.weight", "norm.bias")
    }
    states = some_states(learner, 5)
    by_hand = head.norm(nn.functional.gelu(head.dense(states))) @ table.T + head.bias
    assert torch.allclose(head(states).whole(), by_hand)
    before = table.clone()
    stored = run(prepare(settings, "en", "toytext", toy.OPTIONS))
    assert torch.equal(table, before)
    saved = {n for n in toy.tensors(stored.folder) if n.startswith("head.safetensors:")}
    assert saved == {
        f"head.safetensors:toytext.{n.partition('toytext.')[2]}" for n in parameters(learner.model) if "head." in n
    }
    assert max(t.numel() for n, t in toy.tensors(stored.folder).items() if n in saved) == table.shape[1] ** 2


def test_the_head_keeps_the_table_in_the_precision_of_the_frozen_weights(settings: Settings) -> None:
    half = learner_of(settings, replace(toy.OPTIONS, precision="bf16"))
    head = half.model.heads["toytext"]
    assert isinstance(head, MaskedHead)
    assert head.table.dtype == torch.bfloat16
    logits = head(some_states(half, 3)).whole()
    assert logits.dtype == torch.float32
    whole = learner_of(settings).model.heads["toytext"](some_states(half, 3)).whole()
    assert torch.allclose(logits, whole, atol=0.02 * float(whole.detach().abs().max()))


def test_an_invertible_adapter_is_undone_before_the_output_matrix(settings: Settings) -> None:
    learner = learner_of(settings, MADX)
    toy.perturb(learner.model, 0.3)
    learner.model.train(False)
    head, encoder = learner.model.heads["toytext"], learner.model.encoder
    assert isinstance(head, MaskedHead)
    [invertible] = encoder.invertible_adapters.values()
    states = some_states(learner, 6)
    inner = head.norm(nn.functional.gelu(head.dense(states)))
    undone = invertible(inner[None], rev=True)[0]
    assert torch.allclose(invertible(undone[None])[0], inner, atol=1e-4), "there and back again"
    assert not torch.allclose(undone, inner, atol=1e-2)
    assert torch.allclose(head(states).whole(), undone @ head.table.T + head.bias, atol=1e-5)
    plain = learner_of(settings)
    assert isinstance(plain.model.heads["toytext"], MaskedHead)
    assert plain.model.heads["toytext"].inverse is None
    assert any("invertible" in n for n in methods.trainable(encoder)), "it is trained like the rest"
    assert not any("invertible" in n for n in methods.trainable(plain.model.encoder))


@pytest.mark.parametrize("options", [MADX, replace(toy.OPTIONS, method="lora"), replace(toy.OPTIONS, method="full")],
                         ids=["MAD-X", "lora", "full"])  # fmt: skip
def test_reloaded_weights_give_the_perplexity_of_their_training(options: RunOptions, settings: Settings) -> None:
    from adaptx.scoring import head_of, model_for
    from adaptx.stack import Stack

    stored = run(prepare(settings, "en", "toytext", replace(options, lr=5e-3)))
    learner = learner_of(settings, options)
    backbone = backbones.load(backbones.locate(settings))
    heads = {"toytext": head_of(stored, backbone, learner.job.tasks[0])}
    reloaded = replace(learner, model=model_for(settings, backbone, Stack((stored,)), "fp32", heads))
    assert reloaded.scores("toytext", "dev") == pytest.approx(stored.manifest.metrics["dev"], rel=1e-5)
    assert learner.scores("toytext", "dev")["perplexity"] != pytest.approx(stored.manifest.metrics["dev"]["perplexity"])


def test_the_checkpoints_own_head_is_used_where_it_has_one(world: toy.World) -> None:
    own, without = backbone_of(world, "xlm-roberta"), backbone_of(world, "bert")
    assert own.masked_head
    assert without.masked_head == {}
    head = MaskedHead(own)
    assert all(torch.equal(v, own.masked_head[k]) for k, v in head.state_dict().items())
    assert head.state_dict().keys() == own.masked_head.keys()
    fresh = MaskedHead(without)
    assert torch.equal(fresh.dense.weight, torch.eye(without.hidden_size))
    assert not fresh.bias.any()


def roberta_masked_lm(folder: Path) -> Any:
    from transformers import XLMRobertaForMaskedLM

    return XLMRobertaForMaskedLM.from_pretrained(folder).eval()


def test_with_its_own_head_a_checkpoint_gives_the_logits_of_transformers(world: toy.World) -> None:
    backbone = backbone_of(world, "xlm-roberta")
    text = Text.of(backbone, 30)
    features = mlm.refresh(mlm.features(DOCUMENTS[:4], text, (), toy.task("mlm")), text, 0, 0)
    model = Model(
        backbone.encoder(),
        nn.ModuleDict({"m": MaskedHead(backbone)}),
        backbone.first_position,
        torch.device("cpu"),
        "fp32",
    )
    model.train(False)
    theirs = roberta_masked_lm(world.backbone("xlm-roberta"))
    for row in range(features.sequences):
        batch = pack(features, np.array([row]), backbone.first_position)
        if len(batch.select):
            with torch.no_grad():
                expected = theirs(input_ids=batch.input_ids).logits[0, batch.select]
                assert torch.allclose(model("m", batch).whole(), expected, atol=1e-4)


def test_a_checkpoint_with_half_a_head_gets_a_fresh_one(world: toy.World, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(world.backbone("xlm-roberta"), tmp_path / "half"))
    state = load_file(folder / "model.safetensors")
    del state["lm_head.dense.bias"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    assert json.loads((folder / "config.json").read_text())["model_type"] == "xlm-roberta"
    found = backbones.load(backbones.locate(toy.settings(world, tmp_path / "store", str(folder))))
    assert found.masked_head == {}


def test_a_batch_without_a_masked_token_changes_nothing_and_stops_nothing(settings: Settings) -> None:
    learner = learner_of(settings)
    work = learner.plan(0)[0]
    none = replace(work.features, select_offsets=np.zeros_like(work.features.select_offsets))
    hooks = Hooks(learner.plan, learner.loss, None, lambda *_: None, learner.items)
    weights = parameters(learner.model)
    before = {k: p.detach().clone() for k, p in weights.items()}
    stepper = Stepper(learner.model, hooks, torch.optim.AdamW(weights.values()), list(weights.values()), 1.0)
    assert stepper.step(replace(work, features=none)) > 0
    assert stepper.losses() == [0.0]
    assert all(torch.equal(p, before[k]) for k, p in weights.items())
    stepper.step(work)
    assert stepper.losses()[0] > 0
    assert not all(torch.equal(p, before[k]) for k, p in weights.items())


@pytest.mark.parametrize("options", [toy.OPTIONS, MADX], ids=["pfeiffer", "MAD-X"])
def test_training_lowers_perplexity(options: RunOptions, settings: Settings) -> None:
    before = learner_of(settings, options).scores("toytext", "dev")["perplexity"]
    stored = run(prepare(settings, "en", "toytext", replace(options, epochs=4, lr=1e-2)))
    assert stored.manifest.metrics["dev"]["perplexity"] < before / 2
    assert stored.manifest.baseline == {"dev": {"perplexity": before}}, "kept beside, to see what training did"
    assert stored.recipe.role == "language"


def test_language_adapters_are_mad_x_unless_told_otherwise(world: toy.World, tmp_path: Path) -> None:
    registry = Path(shutil.copytree(world.registry, tmp_path / "registry"))
    source = toy.put(registry / "tasks" / "mlm.yaml", (registry / "tasks" / "toytext.yaml").read_text())
    source.write_text("sources:" + source.read_text().partition("sources:")[2])
    settings = toy.settings(world, tmp_path / "store", registry=registry)
    hyper = prepare(settings, "qaa", "mlm", toy.OPTIONS).recipe.hyper
    assert (hyper["config"], hyper["reduction_factor"]) == ("seq_bn_inv", 2)
    assert Registry().task("mlm").roles == ("language",)
    other = prepare(settings, "qaa", "mlm", replace(toy.OPTIONS, hyper={"reduction_factor": 16})).recipe.hyper
    assert other == {**hyper, "reduction_factor": 16}
    assert prepare(settings, "qaa", "toynli", toy.OPTIONS).recipe.hyper["config"] == "seq_bn"
