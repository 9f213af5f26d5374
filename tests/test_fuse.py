"""AdapterFusion: attention alone is trained, adapters are carried along unchanged, and plain `adapters` loads the folder."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import toy
from adaptx import backbones, methods, store, table
from adaptx.combine import combine
from adaptx.config import RunOptions, Settings
from adaptx.engine.model import encode_packed, encode_padded
from adaptx.errors import AdaptxError
from adaptx.fuse import fusion
from adaptx.hub.download import pull
from adaptx.hub.upload import push
from adaptx.predict import predict
from adaptx.refs import Ref, parse_ref
from adaptx.registry import FUSION
from adaptx.stack import Stack, assemble, member_names
from adaptx.store import Stored
from adaptx.training import prepare, run
from shop import call, surroundings
from test_interop import compare, in_rows, our_batch, plain_inputs

OPTIONS = RunOptions(precision="fp32", max_steps=4, batch_tokens=128, lr=1e-3)
PARTS = {"query", "key", "value"}


def refused(code: str, action: Callable[[], object]) -> str:
    with pytest.raises(AdaptxError) as caught:
        action()
    assert caught.value.code == code, caught.value
    return str(caught.value)


def members(settings: Settings) -> list[Stored]:
    """Two adapters that do something."""
    return [toy.made(settings, "pfeiffer"), toy.made(settings, "pfeiffer", "qaa")]


def fused(settings: Settings, *parts: Stored, edit: Any = toy.perturb) -> Stored:
    """A fusion of them for tags; `edit` takes the place of training."""
    with toy.instead_of_training(edit):
        return run(fusion(settings, [parse_ref(s.ref) for s in parts], "en", "toypos", OPTIONS))


def test_training_moves_the_attention_alone_and_is_found_again(settings: Settings) -> None:
    both = members(settings)
    refs = [parse_ref(s.ref) for s in both]
    backbone = backbones.load(backbones.locate(settings))
    before = {name: value.clone() for name, value in backbone.state.items()}
    trained = run(fusion(settings, refs, "en", "toypos", OPTIONS))
    assert [(p.how, p.run) for p in trained.recipe.parents] == [("fuse", s.manifest.run) for s in both]
    assert all(torch.equal(backbone.state[name], value) for name, value in before.items())
    found = toy.tensors(trained.adapter)
    attention = {name: value for name, value in found.items() if "adapter_fusion_layer" in name}
    assert {name.split(".")[-2] for name in attention} == PARTS
    values = [value for name, value in attention.items() if "value.weight" in name]
    assert len(values) == 2, "one a layer"
    assert not any(torch.allclose(value, torch.eye(64), atol=1e-4) for value in values), "they start as the identity"
    assert trained.manifest.cost["trainable_parameters"] == sum(v.numel() for v in attention.values())
    carried = 0
    for name, stored in zip(member_names(both), both, strict=True):
        for key, value in toy.tensors(stored.adapter).items():
            own = f"{name}/{key}".replace(f".{stored.recipe.lang}_toynli.", f".{name}.")
            assert torch.equal(found[own], value), "the adapters are as they were"
            carried += 1
    assert carried + len(attention) == len(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("adaptx.training._train", lambda *_: pytest.fail("trained again"))
        assert run(fusion(settings, refs, "en", "toypos", OPTIONS)).manifest == trained.manifest
    assert fusion(settings, refs[::-1], "en", "toypos", OPTIONS).recipe.run_id != trained.manifest.run


@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
def test_plain_adapters_loads_the_folder_and_gives_our_states(
    model_type: str, world: toy.World, tmp_path: Path
) -> None:
    import adapters
    from transformers import BertModel, XLMRobertaModel

    settings = toy.settings(world, tmp_path / "store", model_type)
    one, other = members(settings)
    folder = fused(settings, one, other).adapter
    backbone, batch = our_batch(settings)
    encoder = assemble(
        Stack((store.find(settings.store, Ref("en", "toypos", "fusion")),)), backbone, settings.registry, "fp32", "cpu"
    )
    with torch.no_grad():
        packed, padded = (run_(encoder, batch) for run_ in (encode_packed, encode_padded))
    assert torch.allclose(packed, padded, atol=1e-5)
    classes = {"bert": BertModel, "xlm-roberta": XLMRobertaModel}
    plain = classes[model_type].from_pretrained(world.backbone(model_type))
    adapters.init(plain)
    for name in json.loads((folder / "adapter_fusion_config.json").read_text())["adapter_names"]:
        plain.load_adapter(str(folder / name), use_safetensors=True)
    plain.load_adapter_fusion(str(folder), use_safetensors=True, set_active=True)
    inputs = plain_inputs(world.backbone(model_type))
    with torch.no_grad():
        theirs = plain.eval()(**inputs).last_hidden_state
    assert compare(packed, batch, theirs, inputs["attention_mask"]) < 1e-5
    for alone in (Stack(), Stack((one,)), Stack((other,))):
        with torch.no_grad():
            states = encode_packed(assemble(alone, backbone, settings.registry, "fp32", "cpu"), batch)
        assert (in_rows(states, batch)[0] - in_rows(packed, batch)[0]).abs().max() > 1e-2


def test_evaluation_and_prediction_take_it_by_name_and_other_rows_stay_as_they_are(settings: Settings) -> None:
    one, other = members(settings)
    plain = toy.made(settings, "pfeiffer", name="toypos")

    def rows(*adapters: Ref) -> dict[str, dict[str, str | None]]:
        planned = table.plan(settings, "qaa", OPTIONS, adapters=adapters, may_train=False)
        result = table.run(settings, "qaa", OPTIONS, planned)
        return {s.name: {task: entry.target for task, entry in s.tasks.items()} for s in result.systems}

    before = rows()
    assert before["none:pfeiffer"]["toypos"] == plain.ref
    made = fused(settings, one, other)
    assert rows() == before
    assert rows(Ref("en", "toypos", "fusion")) == {made.ref: {"toypairs": None, "toypos": None}}
    tags = predict(settings, parse_ref(made.ref), ["tusa pame ropi ."], "fp32")[0]["prediction"]
    assert len(tags) == 4
    assert set(tags) <= set(toy.TAGS)


def test_the_licences_of_the_adapters_inside_bind(settings: Settings) -> None:
    one, other = members(settings)
    assert {*one.manifest.licences, *other.manifest.licences} == {"CC0-1.0"}
    made = fused(settings, one, other)
    assert set(made.manifest.licences) == {"CC0-1.0", "CC-BY-NC-4.0"}
    assert {(d.task, d.split) for d in made.recipe.data} >= {("toynli", "train"), ("toypos", "train")}
    card = (made.folder / "README.md").read_text()
    assert "load_adapter_fusion" in card
    assert all(name in card for name in member_names([one, other]))
    assert all(f"fuse: {s.ref}" in card for s in (one, other))


def test_a_fusion_is_shared_like_any_adapter(settings: Settings, tmp_path: Path) -> None:
    made, hub = fused(settings, *members(settings)), str(tmp_path / "hub")
    push(settings, made, hub)
    elsewhere = replace(settings, store=tmp_path / "elsewhere")
    pull(elsewhere, Ref("en", "toypos", "fusion"), hub)
    assert [s.ref for s in store.listing(elsewhere.store)] == [made.ref], "it needs no other adapter"
    texts = ["tusa pame ropi .", "bado"]
    assert predict(elsewhere, parse_ref(made.ref), texts, "fp32") == predict(
        settings, parse_ref(made.ref), texts, "fp32"
    )


@pytest.mark.parametrize("name", ["../other", "/etc", "missing", "a/b", ""])
def test_a_folder_that_points_elsewhere_is_not_loaded(name: str, settings: Settings, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(fused(settings, *members(settings)).adapter, tmp_path / "copy"))
    config = json.loads((folder / "adapter_fusion_config.json").read_text())
    config["adapter_names"][1] = name
    (folder / "adapter_fusion_config.json").write_text(json.dumps(config))
    encoder = backbones.load(backbones.locate(settings)).encoder()
    refused("AX021", lambda: methods.load(encoder, FUSION, "f", folder))


def test_what_cannot_be_fused_is_refused(settings: Settings, world: toy.World) -> None:
    one, other = members(settings)
    language = toy.made(settings, "pfeiffer", "qaa", "toytext")
    stacked = toy.made(settings, "pfeiffer", seed=2, stack=Stack((language,)))

    def ask(*parts: Stored, task: str = "toypos", place: Settings = settings) -> str:
        refs = [parse_ref(s.ref) for s in parts]
        return refused("AX051", lambda: fusion(place, refs, "en", task, OPTIONS))

    assert "two or more" in ask(one)
    assert "two or more" in ask(one, one)
    assert "shapes" in ask(one, toy.made(settings, "lora"))
    assert "shapes" in ask(one, toy.made(settings, "parallel"))
    assert "places" in ask(one, toy.made(settings, "houlsby"))
    assert "language adapter" in ask(one, stacked)
    assert "target" in ask(one, other, task="toynli")
    assert "adaptx fuse" in refused(
        "AX051", lambda: prepare(settings, "en", "toypos", replace(OPTIONS, method="fusion"))
    )
    made = fused(settings, one, other)
    assert "shapes" in ask(one, made)
    assert "added up" in refused("AX051", lambda: combine(settings.store, [(0.5, made), (0.5, made)]))
    refused("AX006", lambda: fusion(settings, [parse_ref("en/none"), parse_ref(one.ref)], "en", "toypos", OPTIONS))
    away = toy.settings(world, settings.store, "other")
    refused("AX006", lambda: fusion(away, [parse_ref(s.ref) for s in (one, other)], "en", "toypos", OPTIONS))


def test_the_command_trains_one_and_says_where_it_is(settings: Settings) -> None:
    one, other = members(settings)
    assert settings.registry.overlay is not None
    places = {"STORE": settings.store, "CACHE": settings.cache, "DATA": settings.data_root}
    places |= {"REGISTRY": settings.registry.overlay, "BACKBONE": Path(settings.backbone)}
    with surroundings({f"ADAPTX_{k}": str(v) for k, v in places.items()} | {"ADAPTX_DEVICE": "cpu"}):
        done = call("fuse", one.ref, other.ref, "--task", "toypos", "--max-steps", "1", "--json")
        assert done.code == 0, done.err
        assert store.verified(Path(done.json["path"])).ref == done.json["ref"]
        assert done.json["ref"].startswith("en/toypos:fusion@")
        assert 0 <= done.json["metrics"]["test"]["f1"] <= 1
        assert call("predict", done.json["ref"], "tusa pame").code == 0
        assert call("eval", "qaa", "--adapter", "en/toypos:fusion", "--tasks", "toypos", "--json").code == 0
        assert call("train-adapter", "--lang", "en", "--task", "toypos", "--method", "fusion").err.count("AX051") == 1
