"""What low-rank and scaling adapters are merged into is a plain checkpoint with equal outputs; nothing is overwritten."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hub_logits
import toy
from adaptx import backbones
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.hub.export import export_merged
from adaptx.refs import parse_ref
from adaptx.stack import Stack, assemble
from adaptx.store import Stored

IDS = torch.tensor([[0, 17, 33, 51, 9, 2], [0, 40, 41, 42, 43, 2]])
CLOSE: dict[str, Any] = {"atol": 1e-5, "rtol": 0}


def ours(settings: Settings, stored: Stored) -> torch.Tensor:
    backbone = backbones.load(backbones.locate(settings))
    with torch.no_grad():
        encoder = assemble(Stack((stored,)), backbone, settings.registry, "fp32", "cpu")
        states: torch.Tensor = encoder(IDS)[0]
    return states


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(AdaptxError) as caught:
        action()
    return caught.value.code


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "full"])
def test_a_merged_export_is_a_plain_checkpoint_with_equal_outputs(
    settings: Settings, tmp_path: Path, method: str
) -> None:
    from transformers import AutoModel, AutoTokenizer

    stored = toy.made(settings, method)
    backbone = backbones.load(backbones.locate(settings))
    before = {k: v.clone() for k, v in backbone.state.items()}
    expected = ours(settings, stored)
    out = export_merged(settings, parse_ref(stored.ref), tmp_path / "plain")
    assert all(torch.equal(before[k], v) for k, v in backbone.state.items()), "the shared weights stay as they were"
    assert sorted(p.name for p in out.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    model = AutoModel.from_pretrained(str(out), add_pooling_layer=False)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(IDS)[0], expected, **CLOSE)
    bare = assemble(Stack(), backbone, settings.registry, "fp32", "cpu")
    with torch.no_grad():
        assert (bare(IDS)[0] - expected).abs().max() > 1e-3, "the adapter does something"
    tokenizer = AutoTokenizer.from_pretrained(str(out))
    assert tokenizer("bado lemi")["input_ids"] == backbone.tokenizer.encode("bado lemi").ids
    assert tokenizer.mask_token == "<mask>" and tokenizer.pad_token == "<pad>"


AUTO = {
    "toynli": "AutoModelForSequenceClassification",
    "toypos": "AutoModelForTokenClassification",
    "toyspan": "AutoModelForQuestionAnswering",
    "toychoice": "AutoModelForMultipleChoice",
}


@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
@pytest.mark.parametrize("task", AUTO)
def test_a_merged_export_is_transformers_own_model_for_the_task(
    world: toy.World, tmp_path: Path, task: str, model_type: str
) -> None:
    import transformers

    place = hub_logits.settings(world, tmp_path, model_type)
    stored = toy.made(place, "lora", name=task)
    out = export_merged(place, parse_ref(stored.ref), tmp_path / "plain")
    model, info = getattr(transformers, AUTO[task]).from_pretrained(str(out), output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert type(model).__name__ == json.loads((out / "config.json").read_text())["architectures"][0]
    expected, batch = hub_logits.ours(place, stored)
    inputs = {"input_ids": batch.input_ids, "token_type_ids": batch.token_type_ids}
    if task == "toychoice":
        inputs = {k: v[None] for k, v in inputs.items()}
    with torch.no_grad():
        found = model.eval()(**inputs)
    if task == "toyspan":
        logits = torch.stack([found.start_logits[0], found.end_logits[0]], -1)[batch.select]
    else:
        logits = found.logits[0, batch.select] if task == "toypos" else found.logits
    torch.testing.assert_close(logits, expected, **CLOSE)
    if task in ("toynli", "toypos"):
        labels = stored.manifest.labels[task]
        assert [model.config.id2label[i] for i in range(len(labels))] == list(labels)


def test_a_head_that_transformers_does_not_have_leaves_the_encoder(settings: Settings, tmp_path: Path) -> None:
    stored = toy.made(settings, "lora", lang="qaa", name="toytext")
    out = export_merged(settings, parse_ref(stored.ref), tmp_path / "plain")
    assert json.loads((out / "config.json").read_text())["architectures"] == ["BertModel"]


def test_a_stack_of_low_rank_adapters_is_merged_whole(settings: Settings, tmp_path: Path) -> None:
    from transformers import AutoModel

    under = toy.made(settings, "lora", lang="qaa")
    above = toy.made(settings, "lora", seed=1, stack=Stack((under,)))
    backbone = backbones.load(backbones.locate(settings))
    with torch.no_grad():
        expected = assemble(Stack((under, above)), backbone, settings.registry, "fp32", "cpu")(IDS)[0]
    out = export_merged(settings, parse_ref(above.ref), tmp_path / "plain")
    with torch.no_grad():
        model = AutoModel.from_pretrained(str(out), add_pooling_layer=False).eval()
        torch.testing.assert_close(model(IDS)[0], expected, **CLOSE)


def test_bottlenecks_do_not_merge_and_nothing_is_overwritten(settings: Settings, tmp_path: Path) -> None:
    stored = toy.made(settings, "pfeiffer")
    assert code_of(lambda: export_merged(settings, parse_ref(stored.ref), tmp_path / "plain")) == "AX051"
    merged = toy.made(settings, "lora")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("do not lose me")
    assert code_of(lambda: export_merged(settings, parse_ref(merged.ref), tmp_path / "full")) == "AX070"
    assert (tmp_path / "full" / "thesis.txt").read_text() == "do not lose me"
