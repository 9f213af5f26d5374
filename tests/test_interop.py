"""What the store holds is what plain `adapters`, plain `peft` and plain transformers read: their states are ours."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import toy
from adaptx import backbones
from adaptx.config import Settings
from adaptx.data.tokenize import Text
from adaptx.engine.model import encode_packed, encode_padded
from adaptx.engine.packing import Encoded, Packed, collect, pack
from adaptx.registry import Registry
from adaptx.scoring import head_of, model_for
from adaptx.stack import Stack, assemble
from adaptx.store import Stored

METHODS = Registry().methods()
# 4-bit weights are another backbone to other tools; a probe has no adapter to load.
PLAIN = [m for m, spec in METHODS.items() if spec.family != "probe" and not spec.hyper.get("quantise")]
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
TEXTS = [
    ("bado nugi lemi .", "zenu bado"),
    ("kelaju hajute gotu dafihore . " * 3, "tusa pame ropi ."),
    ("sabu .", "lemi vilo"),
    ("labemi mitoge nugi sefi tusa .", "ropi pame bado . " * 2),
]


def plain_adapters(backbone: Path, folder: Path, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Last hidden states by the `adapters` library alone."""
    import adapters
    from transformers import BertModel, XLMRobertaModel

    model_type = json.loads((backbone / "config.json").read_text())["model_type"]
    model = {"bert": BertModel, "xlm-roberta": XLMRobertaModel}[model_type].from_pretrained(backbone)
    adapters.init(model)
    name = model.load_adapter(str(folder), use_safetensors=True)
    model.set_active_adapters(name)
    with torch.no_grad():
        return model.eval()(**inputs).last_hidden_state  # type: ignore[no-any-return]


def plain_peft(backbone: Path, folder: Path, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Last hidden states by the `peft` library alone."""
    import peft
    from transformers import AutoModel

    model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(backbone), str(folder))
    with torch.no_grad():
        return model.eval()(**inputs).last_hidden_state  # type: ignore[no-any-return]


def plain_transformers(backbone: Path, folder: Path, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Last hidden states by transformers alone; the folder is a model of its own."""
    from transformers import AutoModel

    with torch.no_grad():
        return AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state  # type: ignore[no-any-return]


PLAINLY = {"bottleneck": plain_adapters, "lora": plain_peft, "full": plain_transformers}


def plain_inputs(backbone: Path) -> dict[str, torch.Tensor]:
    """A padded batch of the texts as other tools make it: no position ids, padding on the right."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(backbone / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    encoded = tokenizer.encode_batch(TEXTS)
    inputs = {"input_ids": [e.ids for e in encoded], "attention_mask": [e.attention_mask for e in encoded]}
    if json.loads((backbone / "config.json").read_text())["type_vocab_size"] > 1:
        inputs["token_type_ids"] = [e.type_ids for e in encoded]
    return {k: torch.tensor(v) for k, v in inputs.items()}


@pytest.fixture(scope="module")
def stored_of(settings_on: Callable[[str], Settings]) -> Callable[[str, str], Stored]:
    return lambda method, model_type: toy.made(settings_on(model_type), method)


def our_batch(settings: Settings) -> tuple[backbones.Backbone, Packed]:
    backbone = backbones.load(backbones.locate(settings))
    text = Text.of(backbone)
    encoded = text.encode(TEXTS)
    rows = [Encoded(e.ids, [0], [0], i, i, text.types(e)) for i, e in enumerate(encoded)]
    features = collect(rows)
    return backbone, pack(features, torch.arange(len(TEXTS)).numpy(), backbone.first_position)


def in_rows(states: torch.Tensor, batch: Packed) -> dict[int, torch.Tensor]:
    """Packed states by the number of their text."""
    cu = batch.cu_seqlens.tolist()
    return {int(row): states[cu[i] : cu[i + 1]] for i, row in enumerate(batch.rows)}


def compare(ours: torch.Tensor, batch: Packed, theirs: torch.Tensor, mask: torch.Tensor) -> float:
    found = in_rows(ours, batch)
    assert {len(v) for v in found.values()} == set(mask.sum(1).tolist())
    return max(float((found[i] - theirs[i][mask[i].bool()]).abs().max()) for i in found)


@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
@pytest.mark.parametrize("method", PLAIN)
def test_the_librarys_own_loader_gives_our_hidden_states(
    method: str,
    model_type: str,
    world: toy.World,
    settings_on: Callable[[str], Settings],
    stored_of: Callable[[str, str], Stored],
) -> None:
    stored, settings = stored_of(method, model_type), settings_on(model_type)
    backbone, batch = our_batch(settings)
    encoder = assemble(Stack((stored,)), backbone, settings.registry, "fp32", "cpu")
    run = encode_packed if METHODS[method].packable else encode_padded
    with torch.no_grad():
        ours = run(encoder, batch)
        bare = encode_packed(backbone.encoder(), batch)
    inputs = plain_inputs(world.backbone(model_type))
    theirs = PLAINLY[METHODS[method].family](world.backbone(model_type), stored.adapter, inputs)
    assert compare(ours, batch, theirs, inputs["attention_mask"]) < 1e-5
    assert compare(bare, batch, theirs, inputs["attention_mask"]) > 1e-2, "they loaded the adapter"


@pytest.mark.parametrize("method", PLAIN)
def test_the_code_in_the_card_loads_the_adapter(
    method: str, world: toy.World, settings_on: Callable[[str], Settings], stored_of: Callable[[str, str], Stored]
) -> None:
    stored, settings = stored_of(method, "bert"), settings_on("bert")
    card = (stored.folder / "README.md").read_text()
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    assert "adaptx" not in code
    assert ".safetensors" not in card or "head.safetensors" in card
    code = code.replace("path/to/this/folder", str(stored.folder))
    code = code.replace(f"path/to/{stored.recipe.backbone.name}", str(world.backbone("bert")))
    code = code.replace(f'"{stored.recipe.backbone.id}"', f'"{world.backbone("bert")}"')
    names: dict[str, Any] = {}
    exec(code, names)
    inputs = plain_inputs(world.backbone("bert"))
    with torch.no_grad():
        theirs = names["model"].eval()(**inputs).last_hidden_state
    backbone, batch = our_batch(settings)
    with torch.no_grad():
        ours = encode_padded(assemble(Stack((stored,)), backbone, settings.registry, "fp32", "cpu"), batch)
    assert compare(ours, batch, theirs, inputs["attention_mask"]) < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_the_store_holds_safetensors_json_and_a_card_only(method: str, stored_of: Callable[[str, str], Stored]) -> None:
    files = [p for p in stored_of(method, "bert").folder.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {".safetensors", ".json", ".md"}
    assert not [p for p in files if p.suffix in PICKLES]


@pytest.mark.parametrize("method", METHODS)
def test_configs_in_the_store_name_no_path_and_no_code(
    method: str, world: toy.World, stored_of: Callable[[str, str], Stored]
) -> None:
    stored = stored_of(method, "bert")
    for path in stored.folder.rglob("*.json"):
        text = path.read_text()
        assert str(world.root) not in text
        assert str(stored.folder.parents[4]) not in text
        assert not set(json.loads(text)) & {"auto_map", "trust_remote_code", "custom_pipelines"}


@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
@pytest.mark.parametrize("method", [m for m in PLAIN if METHODS[m].packable])
def test_logits_follow_by_hand_from_plain_states_and_the_heads_tensors(
    method: str,
    model_type: str,
    world: toy.World,
    settings_on: Callable[[str], Settings],
    stored_of: Callable[[str, str], Stored],
) -> None:
    from safetensors.torch import load_file

    stored, settings = stored_of(method, model_type), settings_on(model_type)
    backbone, batch = our_batch(settings)
    task = settings.registry.task("toynli")
    model = model_for(settings, backbone, Stack((stored,)), "fp32", {task.id: head_of(stored, backbone, task)})
    model.train(False)
    with torch.no_grad():
        ours = model(task.id, batch)
    inputs = plain_inputs(world.backbone(model_type))
    first = PLAINLY[METHODS[method].family](world.backbone(model_type), stored.adapter, inputs)[:, 0]
    head = {k.removeprefix("toynli."): v for k, v in load_file(stored.folder / "head.safetensors").items()}
    assert set(head) == {"dense.weight", "dense.bias", "out.weight", "out.bias"}
    theirs = torch.tanh(first @ head["dense.weight"].T + head["dense.bias"]) @ head["out.weight"].T + head["out.bias"]
    assert float((ours - theirs[torch.from_numpy(batch.rows)]).abs().max()) < 1e-5
    assert stored.manifest.labels["toynli"] == toy.LABELS
