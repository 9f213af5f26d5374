"""Evaluation: which rows a table has, that targets are trained once, that scores are what a plain computation gives."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

import toy
from adaptx import backbones, store, table
from adaptx.combine import combine
from adaptx.config import RunOptions, Settings
from adaptx.data import sources
from adaptx.data.examples import ParallelExample, WordsExample
from adaptx.errors import AdaptxError
from adaptx.metrics import METRICS
from adaptx.metrics.bootstrap import paired_bootstrap
from adaptx.refs import Ref, parse_refs
from adaptx.registry import Registry
from adaptx.scoring import Cell, cell
from adaptx.stack import Stack
from adaptx.store import Stored
from adaptx.table import Table
from adaptx.tasks import kind_of

OPTIONS = RunOptions(precision="fp32", max_steps=1)  # those of `toy.made`
MLM = """
train: {epochs: 1, batch_tokens: 128, max_tokens: 48}
sources:
  - kind: local
    languages: [en, qaa]
    licence: CC0-1.0
    format: text
    splits:
      train: [{files: ["toytext/{lang}/train.txt"]}]
      dev: [{files: ["toytext/{lang}/dev.txt"]}]
"""


@pytest.fixture
def place(world: toy.World, tmp_path: Path) -> Settings:
    """Settings over data, a registry with language adapters and a store that a test may change."""
    registry = Path(shutil.copytree(world.registry, tmp_path / "registry"))
    toy.put(registry / "tasks" / "mlm.yaml", MLM)
    data = Path(shutil.copytree(world.data, tmp_path / "data"))
    return toy.settings(world, tmp_path / "store", registry=registry, data_root=data)


def fresh(settings: Settings) -> Settings:
    """Settings that have read nothing yet."""
    return replace(settings, registry=Registry(settings.registry.overlay))


def evaluated(settings: Settings, **chosen: Any) -> tuple[Table, list[str]]:
    """The table for qaa, and the references of what was trained for it."""
    trained: list[str] = []

    def report(event: str, values: dict[str, Any]) -> None:
        if event == "done":
            trained.append(values["ref"])

    with toy.instead_of_training(lively):
        planned = table.plan(settings, "qaa", OPTIONS, **chosen)
        return table.run(settings, "qaa", OPTIONS, planned, report), trained


def scored(settings: Settings, adapters: Sequence[Stored], task: str, lang: str = "qaa") -> Cell:
    return cell(settings, Stack(tuple(adapters)), settings.registry.task(task), lang, "fp32")


def lively(model: Any) -> None:
    """Weights so large that predictions differ from example to example."""
    toy.perturb(model, 0.5)


def made(settings: Settings, method: str, lang: str = "en", name: str = "toynli", **how: Any) -> Stored:
    return toy.made(settings, method, lang, name, **{"edit": lively, **how})


def refused(code: str, action: Any) -> str:
    with pytest.raises(AdaptxError) as caught:
        action()
    assert caught.value.code == code
    return str(caught.value)


def test_a_table_has_a_row_without_intermediate_task_and_one_for_every_adapter(place: Settings) -> None:
    adapters = [made(place, m, lang) for m, lang in (("lora", "en"), ("pfeiffer", "en"), ("pfeiffer", "qaa"))]
    result, trained = evaluated(place)
    assert [s.name for s in result.systems] == ["none:lora", "none:pfeiffer", *(a.ref for a in adapters)]
    for system in result.systems:
        own = {"toynli"} if system.adapter else set()
        assert system.tasks.keys() == {"toypos", "toypairs"} | own
        target = system.tasks["toypos"].target
        assert target is not None
        assert target.startswith(f"en/toypos:{system.method}@")
        origin = next(s for s in store.listing(place.store) if s.ref == target).recipe.parent("init_from")
        assert [p.run for p in origin] == ([system.adapter.manifest.run] if system.adapter else [])
    assert len(trained) == len(set(trained)) == 5, "a target for every row"
    assert result.missing == ()
    assert result.notes == ("toypos/qaa: made up",)


def test_targets_are_trained_once_and_found_the_second_time(place: Settings) -> None:
    made(place, "pfeiffer")
    first, trained = evaluated(place)
    assert len(trained) == 2
    held = {s.manifest.run for s in store.listing(place.store)}
    with patch("adaptx.scoring._score", side_effect=AssertionError("scored again")):
        second, again = evaluated(fresh(place))
    assert again == []
    assert second.as_json() == first.as_json()
    assert {s.manifest.run for s in store.listing(place.store)} == held
    other = table.plan(place, "qaa", replace(OPTIONS, seed=1))
    assert len(other.jobs) == 2, "another seed is another run"


def test_without_training_the_store_is_used_and_what_is_missing_is_named(place: Settings) -> None:
    origin = made(place, "pfeiffer")
    empty, trained = evaluated(place, may_train=False)
    assert trained == []
    assert [s.tasks.keys() for s in empty.systems] == [{"toypairs"}, {"toypairs", "toynli"}]
    assert empty.missing == tuple(
        f"{n} on toypos: no target adapter in the store" for n in ("none:pfeiffer", origin.ref)
    )
    plain = made(place, "pfeiffer", name="toypos")
    made(place, "pfeiffer", name="toypos", seed=1, init_from=made(place, "pfeiffer", "qaa"))
    result, _ = evaluated(place, may_train=False, adapters=[Ref("en", "toynli")])
    assert result.systems[0].tasks["toypos"].target == plain.ref
    assert "toypos" not in result.systems[1].tasks, "a target that starts elsewhere is not this row's"
    assert len(result.missing) == 1
    assert refused("AX006", lambda: evaluated(place, may_train=False, tasks=["toypos"], adapters=[Ref("en", "none")]))


def test_a_sum_of_target_adapters_is_no_rows_own(place: Settings) -> None:
    """An average of targets that start from intermediate adapters says of itself only what it was added up from."""
    intermediate = made(place, "pfeiffer")
    started = [made(place, "pfeiffer", name="toypos", seed=s, init_from=intermediate) for s in (0, 1)]
    mean = combine(place.store, [(0.5, s) for s in started])
    assert mean.manifest.created >= max(s.manifest.created for s in started)
    result, _ = evaluated(place, may_train=False, adapters=[Ref("en", "toynli")])
    none, row = result.systems
    assert "toypos" not in none.tasks
    assert row.tasks["toypos"].target in {s.ref for s in started}
    named, _ = evaluated(place, may_train=False, tasks=["toypos"], adapters=[Ref("en", "toypos", run=mean.manifest.run)])
    assert [s.name for s in named.systems] == [mean.ref], "asked for by name it is scored"


def test_with_nothing_to_score_it_says_what_is_missing(place: Settings) -> None:
    said = refused("AX006", lambda: evaluated(place, may_train=False, tasks=["toypos"]))
    assert "none:pfeiffer on toypos" in said


def test_differences_are_those_of_the_same_items(place: Settings) -> None:
    made(place, "pfeiffer")
    result, _ = evaluated(place)
    none, row = result.systems
    assert all(e.delta is None for e in none.tasks.values())
    assert row.tasks["toynli"].delta is None, "the row without intermediate task has no head for it"
    for task in ("toypos", "toypairs"):
        base, entry = none.tasks[task].cell, row.tasks[task]
        assert entry.delta == pytest.approx(entry.cell.metrics[base.leading] - base.metrics[base.leading])
        reduce = METRICS[place.registry.task(task).metrics[0]].reduce
        expected = paired_bootstrap(entry.cell.stats, base.stats, reduce)
        assert (entry.delta, entry.delta_ci95) == (expected.delta, (expected.low, expected.high))
        assert entry.p_value == expected.p_value
    right = row.tasks["toypairs"].cell.stats[:, 0] - none.tasks["toypairs"].cell.stats[:, 0]
    assert row.tasks["toypairs"].delta == pytest.approx(right.mean())
    assert any(e.delta for e in row.tasks.values()), "the systems differ somewhere"


def test_an_adapter_that_adds_nothing_makes_no_difference(place: Settings) -> None:
    made(place, "pfeiffer", edit=toy.silence)
    entry = evaluated(place, tasks=["toypairs"])[0].systems[1].tasks["toypairs"]
    assert (entry.delta, entry.delta_ci95, entry.p_value) == (0, (0, 0), 1)


def test_a_score_is_kept_until_something_that_it_depends_on_changes(place: Settings) -> None:
    adapter = made(place, "pfeiffer", name="toypos")
    first = scored(place, [adapter], "toypos")
    with patch("adaptx.scoring._score", side_effect=AssertionError("scored again")):
        again = scored(fresh(place), [adapter], "toypos")
    assert again.path == first.path
    assert again.metrics == first.metrics
    assert np.array_equal(again.stats, first.stats)
    assert place.data_root is not None
    test = place.data_root / "toypos" / "qaa" / "test.conllu"
    test.write_text(test.read_text().replace("\tNOUN\t", "\tADJ\t"))
    changed = scored(fresh(place), [adapter], "toypos")
    assert changed.path != first.path
    assert changed.metrics != first.metrics
    files = len(list(first.path.parent.iterdir()))
    assert place.registry.overlay is not None
    toy.put(place.registry.overlay / "tasks" / "toypos.yaml", toy.TOYPOS_YAML.replace("made up", "another note"))
    assert scored(fresh(place), [adapter], "toypos").path == changed.path
    assert len(list(first.path.parent.iterdir())) == files == 2


def test_a_damaged_score_is_not_believed(place: Settings) -> None:
    path = scored(place, [], "toypairs").path
    path.write_text(path.read_text()[:50])
    assert path.name in refused("AX020", lambda: scored(place, [], "toypairs"))


def test_another_retrieval_layer_is_another_score(place: Settings) -> None:
    def reported(layer: int) -> Cell:
        assert place.registry.overlay is not None
        entry = f"bert: {{source: folder, id: {place.backbone}, retrieval_layer: {layer}}}\n"
        toy.put(place.registry.overlay / "backbones.yaml", entry)
        return scored(replace(fresh(place), backbone="bert"), [], "toypairs")

    assert [reported(layer).extra["layer"] for layer in (0, 2)] == [0, 2]


@pytest.mark.parametrize("task", ["toynli", "toypos", "toypairs"])
def test_predictions_are_kept_by_the_ids_of_their_examples_and_give_the_scores(task: str, place: Settings) -> None:
    adapters = [] if task == "toypairs" else [made(place, "pfeiffer", name=task)]
    found, spec = scored(place, adapters, task), place.registry.task(task)
    examples = sources.load(place, spec, "qaa", "test").examples
    kept = json.loads(found.path.read_text())["predictions"]
    assert [i for i, _ in kept] == [e.id for e in examples]
    assert len({i for i, _ in kept}) == found.n == len(found.stats)
    predictions = [p for _, p in kept]
    gold = list(range(len(kept))) if task == "toypairs" else kind_of(spec).references(examples)
    for key in spec.metrics:
        assert METRICS[key].score(predictions, gold) == found.metrics[METRICS[key].name]
    assert len({str(p) for p in predictions}) > 1
    if task == "toypos":
        assert [len(p) for p in predictions] == [len(e.words) for e in examples if isinstance(e, WordsExample)]
    else:
        rotated = [*predictions[1:], predictions[0]]
        assert METRICS[spec.metrics[0]].score(rotated, gold) != found.metrics[found.leading], "the order matters"


def plain_model(folder: Path) -> Any:
    from transformers import BertModel, XLMRobertaModel

    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    return {"bert": BertModel, "xlm-roberta": XLMRobertaModel}[model_type].from_pretrained(folder).eval()


def pooled(folder: Path, texts: Sequence[str]) -> list[torch.Tensor]:
    """Mean over all tokens of every layer by transformers alone, on one padded batch: layers of [n, H]."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    encoded = tokenizer.encode_batch(list(texts))
    mask = torch.tensor([e.attention_mask for e in encoded])
    with torch.no_grad():
        ids = torch.tensor([e.ids for e in encoded])
        layers = plain_model(folder)(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    assert not mask.bool().all(), "there is padding"
    return [(h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) for h in layers]


@pytest.mark.parametrize("model_type", toy.MODEL_TYPES)
def test_retrieval_is_the_nearest_cosine_of_plain_mean_pooled_states_in_every_layer(
    model_type: str, world: toy.World, tmp_path: Path
) -> None:
    settings = toy.settings(world, tmp_path / "store", model_type)
    found = scored(settings, [], "toypairs")
    examples = sources.load(settings, settings.registry.task("toypairs"), "qaa", "test").examples
    pairs = [e for e in examples if isinstance(e, ParallelExample)]
    folder = world.backbone(model_type)
    vectors = [pooled(folder, [p.english for p in pairs]), pooled(folder, [p.text for p in pairs])]
    gold = torch.arange(len(pairs))
    sweep = {}
    for layer, (english, foreign) in enumerate(zip(*vectors, strict=True)):
        cosine = torch.nn.functional.cosine_similarity(english[:, None], foreign[None], dim=-1)
        right = [(cosine.argmax(axis) == gold).double().mean().item() for axis in (1, 0)]
        sweep[str(layer)] = right
        if layer == found.extra["layer"]:
            assert right == [found.metrics["accuracy"], found.metrics["reverse_accuracy"]]
            kept = json.loads(found.path.read_text())["predictions"]
            assert [p for _, p in kept] == cosine.argmax(1).tolist()
    assert found.extra["sweep"] == sweep
    assert len({tuple(v) for v in sweep.values()}) > 1, "layers differ"
    assert found.extra["layer"] == 1, "7/12 of two layers"


def test_a_bare_backbone_and_another_tasks_head_cannot_score_a_task(place: Settings) -> None:
    assert scored(place, [], "toypairs").n == 20
    assert "no head" in refused("AX051", lambda: scored(place, [], "toypos"))
    said = refused("AX051", lambda: scored(place, [made(place, "pfeiffer")], "toypos"))
    assert "its head is made for toynli" in said
    assert refused("AX014", lambda: scored(place, [made(place, "pfeiffer", name="mlm")], "mlm"))


def test_a_target_adapter_that_is_named_is_scored_as_it_is(place: Settings) -> None:
    target = made(place, "pfeiffer", name="toypos")
    made(place, "pfeiffer")
    result, trained = evaluated(place, adapters=[Ref("en", "toypos")])
    assert trained == []
    assert [s.name for s in result.systems] == [target.ref]
    entry = result.systems[0].tasks["toypos"]
    assert entry.cell.path == scored(place, [target], "toypos").path
    assert entry.delta is None
    only, _ = evaluated(place, adapters=[Ref("en", "toypos")], tasks=["toypairs"])
    assert only.systems[0].tasks.keys() == {"toypairs"}, "only the tasks that were asked for"


def by_hand(world: toy.World, language: Stored, target: Stored, sentences: Sequence[WordsExample]) -> list[list[str]]:
    """Tags by the `adapters` library's own stack and the head's tensors, one sentence at a time."""
    import adapters
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    model = plain_model(world.backbone("bert"))
    adapters.init(model)
    names = [
        model.load_adapter(str(s.adapter), load_as=n, use_safetensors=True) for n, s in (("a", language), ("b", target))
    ]
    model.set_active_adapters(adapters.Stack(*names))
    head = load_file(target.folder / "head.safetensors")
    tokenizer = Tokenizer.from_file(str(world.backbone("bert") / "tokenizer.json"))
    out = []
    for sentence in sentences:
        encoded = tokenizer.encode(list(sentence.words), is_pretokenized=True)
        firsts = [encoded.word_ids.index(i) for i in range(len(sentence.words))]
        with torch.no_grad():
            states = model.eval()(input_ids=torch.tensor([encoded.ids])).last_hidden_state[0, firsts]
        logits = states @ head["toypos.out.weight"].T + head["toypos.out.bias"]
        out.append([toy.TAGS[i] for i in logits.argmax(-1)])
    return out


def test_an_explicit_stack_predicts_what_the_library_predicts_by_hand(place: Settings, world: toy.World) -> None:
    language, target = made(place, "pfeiffer", "qaa", "mlm"), made(place, "pfeiffer", name="toypos")
    assert any("invertible" in name for name in toy.tensors(language.folder)), "a MAD-X adapter"
    planned = table.stacked(place, "qaa", parse_refs("qaa/mlm,en/toypos"), None)
    result = table.run(place, "qaa", OPTIONS, planned)
    assert [s.name for s in result.systems] == [f"{target.ref} (on qaa/mlm)"]
    found = result.systems[0].tasks["toypos"].cell
    examples = sources.load(place, place.registry.task("toypos"), "qaa", "test").examples
    sentences = [e for e in examples if isinstance(e, WordsExample)]
    kept = [tags for _, tags in json.loads(found.path.read_text())["predictions"]]
    assert kept == by_hand(world, language, target, sentences)
    alone = scored(place, [target], "toypos")
    assert kept != [tags for _, tags in json.loads(alone.path.read_text())["predictions"]], "the stack matters"
    assert refused("AX006", lambda: table.stacked(place, "qaa", parse_refs("en/mlm,en/toypos"), None))
    assert refused("AX051", lambda: table.run(place, "qaa", OPTIONS, table.stacked(
        place, "qaa", parse_refs("qaa/mlm,en/toypos"), ["toynli"])))  # fmt: skip


def test_ablation_shows_one_target_on_three_language_adapters(place: Settings) -> None:
    assert refused("AX006", lambda: evaluated(place, ablate=True)), "there is no language adapter yet"
    own, english = (made(place, "pfeiffer", lang, "mlm") for lang in ("qaa", "en"))
    result, trained = evaluated(place, ablate=True)
    rows = {"on qaa/mlm": [own], "no language adapter": [], "en/mlm kept": [english]}
    assert [s.label for s in result.systems] == list(rows)
    assert len(trained) == 1
    target = next(s for s in store.listing(place.store) if s.ref == trained[0])
    assert [p.run for p in target.recipe.parent("stack")] == [english.manifest.run]
    cells = {}
    for system in result.systems:
        assert system.tasks["toypos"].target == target.ref
        cells[system.label] = system.tasks["toypos"].cell
        assert cells[system.label].path == scored(place, [*rows[system.label], target], "toypos").path
        assert system.tasks["toypairs"].cell.path == scored(place, rows[system.label], "toypairs").path
    assert len({c.path for c in cells.values()}) == 3
    again, trained = evaluated(place, ablate=True, may_train=False)
    assert trained == []
    assert [s.tasks["toypos"].target for s in again.systems] == [target.ref] * 3
    plain, _ = evaluated(place, may_train=False)
    assert all("toypos" not in s.tasks for s in plain.systems), "a target on a language adapter is not a plain one"


def test_a_row_that_was_trained_on_a_language_adapter_is_scored_on_the_other_languages(place: Settings) -> None:
    own, english = (made(place, "pfeiffer", lang, "mlm") for lang in ("qaa", "en"))
    row = made(place, "pfeiffer", stack=Stack((english,)))
    result, trained = evaluated(place)
    system = next(s for s in result.systems if s.adapter)
    assert system.label == "on qaa/mlm"
    target = next(s for s in store.listing(place.store) if s.ref == system.tasks["toypos"].target)
    assert target.ref in trained
    assert [p.run for p in target.recipe.parents] == [english.manifest.run, row.manifest.run]
    assert system.tasks["toypos"].cell.path == scored(place, [own, target], "toypos").path
    assert system.tasks["toypairs"].cell.path == scored(place, [own, row], "toypairs").path
    assert system.tasks["toypos"].delta is not None, "there is a row without intermediate task to compare with"


def test_an_estimate_needs_a_finished_run_to_go_by(place: Settings) -> None:
    made(place, "pfeiffer")
    jobs = list(table.plan(place, "qaa", OPTIONS).jobs.values())
    assert len(jobs) == 2
    assert table.estimate(place, jobs) is None
    assert table.estimate(place, []) == 0
    assert backbones.locate(place).name == "bert"
