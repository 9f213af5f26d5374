"""Adapters made by plain `adapters` and plain `peft` come in, run, are shared and go out again, with equal outputs."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import hostile
import hub_api_server
import hub_toy
import toy
import toy_files
from adaptx import backbones, hub, scoring, store
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.hub import checks
from adaptx.hub.foreign import import_foreign
from adaptx.predict import predict
from adaptx.refs import Ref, parse_ref
from adaptx.scoring import head_of
from adaptx.stack import Stack, assemble
from adaptx.store import Stored

IDS = torch.tensor([[0, 17, 33, 51, 9, 2], [0, 40, 41, 42, 43, 2]])
REVERSED = tuple(reversed(toy_files.LABELS))
CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 0}


@dataclass(frozen=True)
class Made:
    """What another library saved, and what it computes on `IDS`: hidden states and, with a head, logits."""

    folder: Path
    states: torch.Tensor
    logits: torch.Tensor | None = None


def randomised(model: Any, parts: tuple[str, ...]) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(p in name for p in parts):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)


def by_adapters(backbone: Path, folder: Path, config: Any = "seq_bn", head: bool = True, *, once: bool = False) -> Made:
    """An AdapterHub folder saved by plain `adapters`, with a classification head whose labels are in another order.

    A prefix is converted (see `convert` for `once`): the library writes no shared tensors as safetensors.
    """
    import adapters

    model = adapters.AutoAdapterModel.from_pretrained(str(backbone))
    model.add_adapter("theirs", config=config)
    if head:
        model.add_classification_head("theirs", num_labels=3, id2label=dict(enumerate(REVERSED)))
    model.set_active_adapters("theirs")
    randomised(model, ("adapters.theirs", "heads.theirs", "prefix"))
    model.eval()
    with torch.no_grad():
        states = model.base_model(IDS)[0]
        logits = model(IDS).logits if head else None
    shared = model.adapters_config.get("theirs").get("architecture") == "prefix_tuning"
    model.save_adapter(str(folder), "theirs", use_safetensors=not shared)
    if shared:
        convert(folder, once)
    return Made(folder, states, logits)


def convert(folder: Path, once: bool) -> None:
    """AdapterHub's pickle as safetensors: each tensor under all of its names, or with `once` under one of them."""
    from safetensors.torch import save_file

    found = torch.load(folder / "pytorch_adapter.bin", weights_only=True)
    if once:
        found = {k: found[k] for k in {found[k].data_ptr(): k for k in sorted(found, reverse=True)}.values()}
    save_file({k: v.clone() for k, v in found.items()}, folder / "adapter.safetensors")
    (folder / "pytorch_adapter.bin").unlink()


def by_peft(backbone: Path, folder: Path, head: bool = False, **fields: Any) -> Made:
    """A PEFT folder saved by plain `peft`; with `head` from transformers' model for sequence classification."""
    import peft
    from transformers import AutoModel, AutoModelForSequenceClassification

    config = peft.LoraConfig(
        **{"target_modules": ["query", "value", "output.dense"], "r": 4, "lora_alpha": 16, **fields}
    )
    if head:
        config.task_type = "SEQ_CLS"
        inner = AutoModelForSequenceClassification.from_pretrained(str(backbone), num_labels=3)
    else:
        inner = AutoModel.from_pretrained(str(backbone))
    model = peft.get_peft_model(inner, config)
    randomised(model, ("lora_", "modules_to_save.default"))
    model.eval()
    with torch.no_grad():
        base = model.get_base_model()
        states = (base.base_model if head else base)(IDS)[0]
        logits = model(IDS).logits if head else None
    model.save_pretrained(str(folder))
    return Made(folder, states, logits)


def ours(settings: Settings, stored: Stored) -> torch.Tensor:
    backbone = backbones.load(backbones.locate(settings))
    with torch.no_grad():
        encoder = assemble(Stack((stored,)), backbone, settings.registry, "fp32", "cpu")
        states: torch.Tensor = encoder(IDS)[0]
    return states


def our_logits(settings: Settings, stored: Stored) -> torch.Tensor:
    backbone = backbones.load(backbones.locate(settings))
    head = head_of(stored, backbone, settings.registry.task(stored.recipe.task)).eval()
    with torch.no_grad():
        logits: torch.Tensor = head(ours(settings, stored)[:, 0])
    return logits


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(AdaptxError) as caught:
        action()
    return caught.value.code


def given(settings: Settings) -> Path:
    return Path(settings.backbone)


@pytest.fixture
def roberta(world: toy.World, tmp_path: Path) -> Settings:
    return toy.settings(world, tmp_path / "store", "xlm-roberta")


@pytest.mark.parametrize("model_type", toy_files.MODEL_TYPES)
def test_an_adapterhub_folder_gives_its_own_outputs_and_scores(
    world: toy.World, tmp_path: Path, model_type: str
) -> None:
    settings = toy.settings(world, tmp_path / "store", model_type)
    made = by_adapters(given(settings), tmp_path / "theirs")
    stored = import_foreign(settings, str(made.folder), "en", "toynli")
    torch.testing.assert_close(ours(settings, stored), made.states, **CLOSE)
    torch.testing.assert_close(our_logits(settings, stored), made.logits, **CLOSE)
    assert stored.manifest.labels["toynli"] == REVERSED
    assert stored.recipe.method == "pfeiffer" and "theirs" in stored.manifest.origin
    cell = scoring.cell(settings, Stack((stored,)), settings.registry.task("toynli"), "qaa", "fp32")
    assert cell.n == 16 and 0 <= cell.metrics["accuracy"] <= 1


@pytest.mark.parametrize(
    ("config", "method"),
    [("double_seq_bn", "houlsby"), ("par_bn", "parallel"), ("seq_bn_inv", "pfeiffer"), ("prefix_tuning", "prefix")],
)
def test_every_architecture_that_is_built_here_is_recognised(
    settings: Settings, tmp_path: Path, config: str, method: str
) -> None:
    made = by_adapters(given(settings), tmp_path / "theirs", config, head=False)
    stored = import_foreign(settings, str(made.folder), "en", "toynli")
    assert stored.recipe.method == method
    torch.testing.assert_close(ours(settings, stored), made.states, **CLOSE)


@pytest.mark.parametrize("flat", [False, True])
def test_a_prefix_comes_in_whether_a_file_holds_its_tensors_under_one_name_or_under_all(
    settings: Settings, tmp_path: Path, flat: bool
) -> None:
    import adapters

    config = adapters.PrefixTuningConfig(flat=flat, prefix_length=5)
    every = by_adapters(given(settings), tmp_path / "every", config, head=False)
    one = by_adapters(given(settings), tmp_path / "one", config, head=False, once=True)
    found = [import_foreign(settings, str(m.folder), "en", "toynli") for m in (every, one)]
    assert len({hub_toy.bytes_of(f.adapter)["adapter.safetensors"] for f in found}) == 1
    assert {f.manifest.cost["trainable_parameters"] for f in found} == {
        sum(v.numel() for v in toy.tensors(one.folder).values())
    }
    for stored in found:
        torch.testing.assert_close(ours(settings, stored), every.states, **CLOSE)


def test_two_copies_of_a_prefix_that_differ_are_not_one(settings: Settings, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    made = by_adapters(given(settings), tmp_path / "theirs", "prefix_tuning", head=False)
    path = made.folder / "adapter.safetensors"
    state = load_file(path)
    state[next(k for k in state if ".layer.1." in k)].add_(1.0)
    save_file(state, path)
    assert code_of(lambda: import_foreign(settings, str(made.folder), "en", "toynli")) == "AX085"


@pytest.mark.parametrize("made_by", ["adapters", "prefix", "peft"])
def test_the_way_to_convert_a_pickle_that_its_refusal_names_works(
    settings: Settings, tmp_path: Path, made_by: str
) -> None:
    folder = tmp_path / "theirs"
    if made_by == "peft":
        made = by_peft(given(settings), folder)
        weights = folder / "adapter_model.safetensors"
    else:
        made = by_adapters(given(settings), folder, "prefix_tuning" if made_by == "prefix" else "seq_bn", head=False)
        weights = folder / "adapter.safetensors"
    from safetensors.torch import load_file

    name = {"adapter.safetensors": "pytorch_adapter.bin", "adapter_model.safetensors": "adapter_model.bin"}
    torch.save(load_file(weights), folder / name[weights.name])
    weights.unlink()
    with pytest.raises(AdaptxError) as caught:
        import_foreign(settings, str(folder), "en", "toynli")
    assert caught.value.code == "AX021"
    command = caught.value.fix.split(": ", 1)[1].replace("python ", f"{sys.executable} ", 1)
    subprocess.run(command, shell=True, cwd=folder, check=True)
    torch.testing.assert_close(
        ours(settings, import_foreign(settings, str(folder), "en", "toynli")), made.states, **CLOSE
    )


@pytest.mark.parametrize(
    ("fields", "method"), [({}, "lora"), ({"use_rslora": True}, "lora"), ({"use_dora": True}, "dora")]
)
def test_a_peft_folder_gives_its_own_outputs(
    settings: Settings, tmp_path: Path, fields: dict[str, Any], method: str
) -> None:
    made = by_peft(given(settings), tmp_path / "theirs", **fields)
    stored = import_foreign(settings, str(made.folder), "en", "toynli")
    assert stored.recipe.method == method
    torch.testing.assert_close(ours(settings, stored), made.states, **CLOSE)


def test_a_peft_model_for_a_task_comes_in_with_its_head_where_its_labels_are_named(
    roberta: Settings, tmp_path: Path
) -> None:
    made = by_peft(given(roberta), tmp_path / "theirs", head=True)
    bare = import_foreign(roberta, str(made.folder), "en", "toynli")
    assert not (bare.folder / "head.safetensors").exists() and "--labels" in bare.manifest.notes[0]
    stored = import_foreign(roberta, str(made.folder), "qaa", "toynli", labels=REVERSED)
    torch.testing.assert_close(ours(roberta, stored), made.states, **CLOSE)
    torch.testing.assert_close(our_logits(roberta, stored), made.logits, **CLOSE)
    turned = import_foreign(roberta, str(made.folder), "qaa", "toynli", labels=toy_files.LABELS)
    assert turned.manifest.labels["toynli"] == toy_files.LABELS != REVERSED, "another order is another head"
    again = import_foreign(roberta, str(made.folder), "en", "toynli", labels=("a", "b", "c"))
    assert again.manifest.run == bare.manifest.run and "its labels are a, b, c" in again.manifest.notes[0]
    left_out = import_foreign(roberta, str(made.folder), "en", "toynli", labels=("a", "b", "c"), role="target")
    assert not left_out.recipe.tasks and "its labels are a, b, c" in left_out.manifest.notes[0]


def test_an_adapter_without_a_head_says_so_when_a_task_asks_for_one_and_still_gives_sentence_vectors(
    settings: Settings, tmp_path: Path
) -> None:
    made = by_adapters(given(settings), tmp_path / "theirs", head=False)
    stored = import_foreign(settings, str(made.folder), "en", "toynli")
    stack = Stack((stored,))
    assert code_of(lambda: scoring.cell(settings, stack, settings.registry.task("toynli"), "qaa", "fp32")) == "AX051"
    assert code_of(lambda: predict(settings, parse_ref(stored.ref), ["tusa pame"])) == "AX051"
    cell = scoring.cell(settings, stack, settings.registry.task("toypairs"), "qaa", "fp32")
    assert cell.n == 20


@pytest.mark.parametrize("library", ["adapters", "peft"])
def test_what_came_in_goes_out_and_the_library_reads_it_again(settings: Settings, tmp_path: Path, library: str) -> None:
    maker = by_adapters if library == "adapters" else by_peft
    made = maker(given(settings), tmp_path / "theirs", head=False)
    stored = import_foreign(settings, str(made.folder), "en", "toynli")
    hub.push(settings, stored, str(tmp_path / "hub"))
    other = toy.settings(toy.World(settings.cache.parent), tmp_path / "other")
    (pulled,) = hub.pull(other, Ref("en", "toynli"), str(tmp_path / "hub"))
    folder = str(pulled.stored.adapter)
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(str(given(settings)))
    if library == "adapters":
        import adapters

        adapters.init(model)
        model.set_active_adapters(model.load_adapter(folder, use_safetensors=True))
    else:
        import peft

        model = peft.PeftModel.from_pretrained(model, folder)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(IDS)[0], made.states, **CLOSE)


def test_importing_twice_finds_the_first_import_and_other_weights_are_another_run(
    settings: Settings, tmp_path: Path
) -> None:
    made = by_peft(given(settings), tmp_path / "a")
    other = by_peft(given(settings), tmp_path / "b", r=2)
    first = import_foreign(settings, str(made.folder), "en", "toynli")
    again = import_foreign(settings, str(made.folder), "en", "toynli")
    second = import_foreign(settings, str(other.folder), "en", "toynli")
    assert first.manifest == again.manifest and first.manifest.run != second.manifest.run
    card = (first.folder / "README.md").read_text()
    assert "imported from the folder a (PEFT" in card and str(tmp_path) not in card


def test_an_import_says_which_backbone_it_does_not_fit(settings: Settings, roberta: Settings, tmp_path: Path) -> None:
    toy_files.write_backbone(tmp_path / "deep", "bert", num_hidden_layers=3)
    toy_files.write_backbone(tmp_path / "wide", "bert", intermediate_size=96)
    made = by_adapters(tmp_path / "deep", tmp_path / "a", head=False)
    assert code_of(lambda: import_foreign(settings, str(made.folder), "en", "toynli")) == "AX085"
    made = by_peft(tmp_path / "deep", tmp_path / "b")
    assert code_of(lambda: import_foreign(settings, str(made.folder), "en", "toynli")) == "AX085"
    made = by_peft(tmp_path / "wide", tmp_path / "c")
    assert code_of(lambda: import_foreign(settings, str(made.folder), "en", "toynli")) == "AX085"
    assert store.listing(settings.store) == []


def edited(made: Made, **fields: Any) -> str:
    path = made.folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return str(made.folder)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"peft_type": "VERA"}, "AX085"),
        ({"init_lora_weights": "pissa"}, "AX085"),
        ({"bias": "all"}, "AX085"),
        ({"layer_replication": [[0, 2]]}, "AX085"),
        ({"target_modules": ["(a+)+$"]}, "AX085"),
        ({"rank_pattern": {".*query": 2}}, "AX085"),
        ({"megatron_config": {"a": 1}}, "AX085"),
        ({"peft_type": ["LORA"]}, "AX085"),
    ],
)
def test_settings_that_are_not_built_here_or_run_code_are_refused(
    settings: Settings, tmp_path: Path, fields: dict[str, Any], code: str
) -> None:
    made = by_peft(given(settings), tmp_path / "theirs")
    import_foreign(settings, str(made.folder), "qaa", "toynli")
    assert code_of(lambda: import_foreign(settings, edited(made, **fields), "en", "toynli")) == code


def test_what_names_code_in_a_foreign_config_never_reaches_a_library(settings: Settings, tmp_path: Path) -> None:
    made = by_peft(given(settings), tmp_path / "theirs")
    evil = {"base_model_class": "system", "parent_library": "os"}
    folder = edited(made, auto_mapping=evil, base_model_name_or_path="../../etc", revision="https://example.org")
    stored = import_foreign(settings, folder, "en", "toynli")
    written = json.loads((stored.adapter / "adapter_config.json").read_text())
    assert written["auto_mapping"] is None and written["base_model_name_or_path"] == "bert"
    checks.check_folder(stored.folder)


def test_pickles_links_and_damaged_weights_are_refused(settings: Settings, tmp_path: Path) -> None:
    made = by_peft(given(settings), tmp_path / "theirs")
    weights = made.folder / "adapter_model.safetensors"

    def attempt() -> str:
        return code_of(lambda: import_foreign(settings, str(made.folder), "en", "toynli"))

    good = weights.read_bytes()
    weights.write_bytes(pickle.dumps(hostile.Exploit(), protocol=2))
    assert attempt() == "AX021"
    weights.unlink()
    (made.folder / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(AdaptxError, match="weights_only=True") as caught:
        import_foreign(settings, str(made.folder), "en", "toynli")
    assert caught.value.code == "AX021"
    (tmp_path / "real.safetensors").write_bytes(good)
    weights.symlink_to(tmp_path / "real.safetensors")
    assert attempt() == "AX021"
    weights.unlink()
    weights.write_bytes(good[:-4] + b"\0\0\xc0\x7f")
    assert attempt() == "AX020"
    weights.write_bytes(good[:-4])
    assert attempt() == "AX021"
    shutil.rmtree(made.folder)
    assert attempt() == "AX011"
    made.folder.mkdir()
    assert attempt() == "AX085"
    assert store.listing(settings.store) == [] and not (tmp_path / "executed.txt").exists()


def test_an_adapter_is_imported_from_the_hugging_face_hub_at_a_pinned_commit(
    settings: Settings, tmp_path: Path
) -> None:
    made = by_peft(given(settings), tmp_path / "theirs")
    with hub_api_server.serve() as server:
        repository = hub_api_server.Repository()
        sha = repository.add({p.name: p.read_bytes() for p in made.folder.iterdir()}, "theirs")
        repository.add({"adapter_config.json": b"{}"}, "broken since")
        server.repositories["org/theirs"] = repository
        code = """
import sys
from pathlib import Path
import toy
import toy_files
from adaptx.hub.foreign import import_foreign
world, folder, revision = sys.argv[1:]
settings = toy.settings(toy.World(Path(world)), Path(folder))
print(import_foreign(settings, "org/theirs", "en", "toynli", revision=revision).manifest.origin)
"""
        environment = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        origin = toy.python(code, settings.cache.parent, settings.store, sha, **environment)
    assert f"org/theirs at {sha} (PEFT" in origin
    (stored,) = store.listing(settings.store)
    torch.testing.assert_close(ours(settings, stored), made.states, **CLOSE)


@pytest.mark.parametrize(
    "method", ["pfeiffer", "houlsby", "parallel", "prefix", "lora", "dora", "ia3", "full", "probe"]
)
def test_every_method_passes_its_own_checks_and_travels(settings: Settings, tmp_path: Path, method: str) -> None:
    stored = toy.made(settings, method)
    hub.push(settings, stored, str(tmp_path / "hub"))
    other = toy.settings(toy.World(settings.cache.parent), tmp_path / "other")
    (pulled,) = hub.pull(other, parse_ref(stored.ref), str(tmp_path / "hub"))
    assert hub_toy.bytes_of(pulled.stored.folder) == hub_toy.bytes_of(stored.folder)
    torch.testing.assert_close(ours(other, pulled.stored), ours(settings, stored), **CLOSE)
