"""The benchmark's plan and arithmetic: specs, suites, interleaving, summaries, prices, amortised cost, formulas."""

import math
import statistics as plain
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import bench_toy
import toy
from adaptx.bench import amortise, flops, harness, plan, prices, shapes, spec, statistics
from adaptx.bench.plan import Block
from adaptx.bench.spec import COMPARED, Spec
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.registry import Registry

BLOCK = Block(methods=("full", "pfeiffer"), tasks=("toypos",), precision=("fp32",))


def code(call: object, *arguments: object) -> str:
    with pytest.raises(AdaptxError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.code


@pytest.mark.parametrize("text", ["full", "full+8bit", "lora+padded", "full+8bit+ckpt+padded", "pfeiffer+upper+int8"])
def test_a_label_says_what_a_spec_is_and_a_spec_its_label(text: str) -> None:
    assert bench_toy.spec(text).label == text


@pytest.mark.parametrize("text", ["", "+8bit", "full+7bit", "full+"])
def test_a_label_that_does_not_read_is_refused(text: str) -> None:
    assert code(spec.parse_label, text) == "AX070"


def test_a_file_name_is_the_specs_own_and_anything_that_changes_the_spec_changes_it() -> None:
    one = bench_toy.spec()
    assert one.name == bench_toy.spec().name
    others = [one.model_copy(update=u) for u in ({"steps": 4}, {"repetition": 1}, {"seed": 1}, {"precision": "bf16"})]
    assert len({one.name, *(o.name for o in others)}) == 5


def test_a_group_is_all_repetitions_and_seeds_of_one_measurement_and_nothing_else() -> None:
    one = bench_toy.spec()
    assert one.model_copy(update={"repetition": 2, "seed": 5}).group() == one.group()
    assert one.model_copy(update={"steps": 4}).group() != one.group()


def test_repetitions_are_interleaved_over_methods(settings: Settings) -> None:
    specs, _ = plan.expand([BLOCK], settings)
    assert [(s.method, s.repetition) for s in specs] == [(m, r) for r in range(3) for m in ("full", "pfeiffer")]


def test_what_two_blocks_share_is_measured_once_and_where_the_first_asks_for_it(settings: Settings) -> None:
    first = BLOCK.model_copy(update={"repeats": 1})
    specs, _ = plan.expand([first, BLOCK], settings)
    assert specs[:2] == plan.expand([first], settings)[0]
    assert len(specs) == 6


def test_a_method_that_cannot_be_packed_is_measured_padded(settings: Settings) -> None:
    block = BLOCK.model_copy(update={"methods": ("prefix", "lora"), "repeats": 1})
    assert [s.label for s in plan.expand([block], settings)[0]] == ["prefix+padded", "lora"]
    both = block.model_copy(update={"layouts": ("packed", "padded")})
    assert [s.label for s in plan.expand([both], settings)[0]] == ["prefix+padded", "lora", "lora+padded"]


def test_seeds_repeat_accuracy_and_repetitions_repeat_cost(settings: Settings) -> None:
    runs = BLOCK.model_copy(update={"what": "accuracy", "seeds": (0, 1, 2), "target_lang": "qaa"})
    specs, _ = plan.expand([runs], settings)
    assert [s.seed for s in specs] == [0, 0, 1, 1, 2, 2]
    assert {s.repetition for s in specs} == {0}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"methods": ("fulll",)}, "AX003"),
        ({"tasks": ("toyposs",)}, "AX002"),
        ({"lang": "qq"}, "AX001"),
        ({"layouts": ("tight",)}, "AX070"),
    ],
)
def test_a_plan_that_names_what_is_not_there_is_refused(settings: Settings, change: dict, expected: str) -> None:
    assert code(plan.expand, [BLOCK.model_copy(update=change)], settings) == expected


def test_an_optional_block_without_its_data_is_left_out_and_said_so(settings: Settings) -> None:
    lost = BLOCK.model_copy(update={"tasks": ("xnli",), "title": "no data"})
    assert code(plan.expand, [lost], settings) == "AX014"
    specs, notes = plan.expand([lost.model_copy(update={"optional": True}), BLOCK], settings)
    assert len(specs) == 6
    assert [n.split(":")[0] for n in notes] == ["no data"]


def test_flags_change_every_block_and_new_shapes_only_those_that_have_some() -> None:
    shaped = BLOCK.model_copy(update={"shapes": ("mini",)})
    real, made = plan.changed([BLOCK, shaped], steps=1, shapes=["toy"], methods=None)
    assert (real.steps, real.shapes, real.methods) == (1, (), BLOCK.methods)
    assert (made.steps, made.shapes) == (1, ("toy",))


@pytest.mark.parametrize("name", ["cpu", "gpu", "accuracy"])
def test_the_shipped_suites_read_and_know_their_methods_and_shapes(name: str, settings: Settings) -> None:
    blocks = plan.suite(name, settings).blocks
    known, sizes = Registry().methods(), shapes.known()
    assert {spec.parse_label(m)["method"] for b in blocks for m in b.methods} <= known.keys()
    assert {s for b in blocks for s in b.shapes} <= sizes.keys()
    assert all(b.repeats >= 1 and b.steps >= 1 for b in blocks)


def test_the_gpu_suite_begins_with_every_method_on_the_large_model_and_needs_no_data(settings: Settings) -> None:
    blocks = plan.suite("gpu", settings).blocks
    specs, _ = plan.expand([b for b in blocks if not b.optional], settings)
    first = specs[: len(COMPARED)]
    assert {s.shape for s in first} == {"xlm-roberta-large"}
    assert {s.method for s in first} == {spec.parse_label(m)["method"] for m in COMPARED}
    assert [s.label for s in first[:3]] == ["full", "pfeiffer", "lora"]
    assert {s.data for s in specs} == {"shape"}


def test_an_unknown_suite_is_refused_with_the_known_ones(settings: Settings) -> None:
    with pytest.raises(AdaptxError, match="Did you mean gpu"):
        plan.suite("gpuu", settings)


def test_a_plan_is_carried_out_without_what_the_folder_has(settings: Settings, tmp_path: Path) -> None:
    """The second run of the same plan finds every record; a new repetition is measured, nothing else."""
    asked: list[Spec] = []

    def instead(one: Spec, places: object, limit: float) -> dict:
        asked.append(one)
        if one.method == "lora":
            raise AdaptxError("AX095", one.name, "it broke.")
        if one.method == "qlora":
            raise AdaptxError("AX033", "bitsandbytes", "not here.")
        return {"schema_version": 1, "spec": one.model_dump(mode="json"), "provenance": PROVENANCE}

    specs = [bench_toy.spec(m) for m in ("full", "lora", "qlora", "pfeiffer")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "measure", instead)
        first = harness.run(specs, None, tmp_path, lambda *_: None)  # type: ignore[arg-type]
        before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.json")}
        again = harness.run(specs, None, tmp_path, lambda *_: None)  # type: ignore[arg-type]
    assert [s.method for s in asked] == ["full", "lora", "qlora", "pfeiffer", "lora", "qlora"]
    assert len(first.records) == len(again.records) == 2
    assert (list(first.failed), list(first.impossible)) == ([specs[1].name], [specs[2].name])
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.json")}


def test_what_had_too_little_of_the_processor_is_left_for_another_time(tmp_path: Path) -> None:
    shares = iter((0.5, 0.95, 0.95))

    def instead(one: Spec, places: object, limit: float) -> dict:
        return {"schema_version": 1, "spec": one.model_dump(mode="json"), "provenance": PROVENANCE, "cpu_share": next(shares)}

    specs = [bench_toy.spec(m) for m in ("full", "lora")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "measure", instead)
        first = harness.run(specs, None, tmp_path, lambda *_: None, share=0.9)  # type: ignore[arg-type]
        assert (first.left, len(list(tmp_path.glob("*.json")))) == ([specs[0]], 1)
        again = harness.run(specs, None, tmp_path, lambda *_: None, share=0.9)  # type: ignore[arg-type]
    assert (again.left, len(again.records)) == ([], 2)


def test_nothing_is_started_after_the_deadline_and_what_is_left_is_named(tmp_path: Path) -> None:
    specs = [bench_toy.spec(m) for m in ("full", "lora")]
    outcome = harness.run(specs, None, tmp_path, lambda *_: None, deadline=0.0)  # type: ignore[arg-type]
    assert (outcome.records, outcome.failed, outcome.left) == ([], {}, specs)


PROVENANCE = {
    "adaptx": "0", "code": "c", "created": "2026-01-01T00:00:00+00:00", "versions": {"torch": "2"},
    "hardware": {"cpu": "x", "cores": 1}, "device": "cpu", "threads": 1, "load": [0.0], "backbone": {"name": "b"},
    "data": [{"id": "d"}],
}  # fmt: skip


def test_summaries_are_the_textbook_ones() -> None:
    values = [4.0, 1.0, 3.0, 2.0, 10.0]
    found = statistics.summary(values)
    assert found == pytest.approx({"n": 5, "median": 3.0, "p90": 7.6, "mean": 4.0, "sd": plain.stdev(values)})
    assert statistics.summary([2.0])["sd"] is None


def test_a_power_law_is_found_again_and_needs_three_points() -> None:
    fit = statistics.power_law([(x, 3 * x**1.5) for x in (1, 2, 4, 8)])
    assert fit is not None
    assert (fit.exponent, fit.scale, fit.r2) == pytest.approx((1.5, 3.0, 1.0))
    assert fit(16) == pytest.approx(192)
    assert statistics.power_law([(1, 1), (2, 2), (2, 3)]) is None
    assert statistics.power_law([(1, 1), (2, 0), (3, 3)]) is None


def test_a_gpu_is_paid_by_the_device_and_a_processor_by_the_core() -> None:
    table = prices.load()
    h100 = table.per_hour({"gpu": "NVIDIA H100 80GB HBM3", "cpu": "any", "cores": 16})
    assert h100 is not None and 1 < h100 < 10
    one, two = (table.per_hour({"cpu": "AMD EPYC", "cores": n}) for n in (1, 2))
    assert one and two == pytest.approx(2 * one)
    assert table.per_hour({"gpu": "Some GPU of tomorrow", "cpu": "AMD EPYC", "cores": 2}) is None


def test_a_registry_folder_brings_its_own_prices(tmp_path: Path) -> None:
    toy.put(tmp_path / "prices.yaml", "prices: [{name: h100, usd_per_hour: 9}]\n")
    assert prices.load(tmp_path).per_hour({"gpu": "NVIDIA H100", "cpu": "", "cores": 1}) == 9
    toy.put(tmp_path / "prices.yaml", "prices: [{name: h100, eur_per_hour: 9}]\n")
    assert code(prices.load, tmp_path) == "AX010"


def row(label: str, task: str, rate: float, size: float = 1.0) -> dict:
    common = {"machine": "m", "backbone": "b", "precision": "bf16", "lengths": None}
    return {**common, "label": label, "method": label, "task": task, "tokens_per_s": rate, "adapter_bytes": size}


def test_a_shared_language_adapter_pays_from_the_break_even_on_and_not_before() -> None:
    rows = [row("full", "udpos", 100), row("pfeiffer", "udpos", 300), row("pfeiffer", "mlm", 200)]
    [found] = amortise.shared(rows)
    assert found.break_even is not None
    below, above = math.floor(found.break_even), math.floor(found.break_even) + 1
    assert below == 0 or found.per_task(below) >= found.full_hours
    assert found.per_task(above) < found.full_hours
    # 10 M tokens at 200 a second, over the hours that a task of 1 M tokens saves
    expected = (10e6 / 200) / (1e6 / 100 - 1e6 / 300)
    assert found.break_even == pytest.approx(expected)


def test_sharing_never_pays_where_the_adapter_is_slower() -> None:
    rows = [row("full", "udpos", 100), row("pfeiffer", "udpos", 90), row("pfeiffer", "mlm", 200)]
    assert amortise.shared(rows)[0].break_even is None


def test_adapters_on_one_backbone_take_the_backbone_once() -> None:
    [found] = amortise.served([row("full", "udpos", 1, 1000), row("lora", "udpos", 1, 10)])
    assert (found.adapters(5), found.models(5)) == (1050, 5000)


GEOMETRY = flops.Geometry(hidden=8, feed_forward=32, layers=3)
LINEARS = 4 * 8 * 8 + 2 * 8 * 32  # weights in a layer's linears


def test_full_fine_tuning_takes_six_operations_a_weight_and_token_and_a_frozen_model_four() -> None:
    """Kaplan et al. 2020; without attention's products and without a head."""
    none, tokens = torch.nn.Module(), 1_000
    lengths = [1] * tokens  # attention is negligible: one product of length one
    full = flops.formula(GEOMETRY, "full", {}, lengths, none, 0)
    assert full.total == pytest.approx(6 * 3 * LINEARS * tokens, rel=0.05)
    assert full.backward == pytest.approx(2 * full.forward)
    frozen = flops.formula(GEOMETRY, "lora", {"config": "ia3"}, lengths, none, 0)
    assert frozen.total == pytest.approx((4 * 3 * LINEARS - 2 * 3 * 64) * tokens, rel=0.05)


def test_the_head_alone_needs_no_backward_pass_through_the_encoder() -> None:
    head = torch.nn.Linear(8, 5, bias=False)
    found = flops.formula(GEOMETRY, "probe", {}, [4, 4], head, 8)
    assert found.backward == 2 * 8 * 40


def test_what_the_head_does_not_read_ends_at_the_top_layers_attention() -> None:
    """All but three projections of the top layer are spared the tokens that are not selected."""
    none, lengths = torch.nn.Module(), [10] * 10
    for family, hyper, passes in (("full", {}, 3), ("lora", {"config": "ia3"}, 2), ("probe", {}, 1)):
        whole, one, every = (
            flops.formula(GEOMETRY, family, hyper, lengths, none, n, narrow).total
            for n, narrow in ((10, False), (10, True), (100, True))
        )
        assert whole == every
        assert whole - one == passes * 2 * 90 * (64 + 2 * 8 * 32)


def test_attention_grows_with_the_square_of_the_length() -> None:
    none = torch.nn.Module()
    same = [flops.formula(GEOMETRY, "full", {}, lengths, none, 0).total for lengths in ([1] * 64, [64])]
    assert same[1] - same[0] == pytest.approx(3 * 3 * 4 * 8 * (64 * 64 - 64))


@pytest.mark.parametrize(("count", "fine"), [(0.4, False), (0.6, True), (1.9, True), (2.1, False)])
def test_counts_more_than_a_factor_of_two_apart_are_an_error(count: float, fine: bool) -> None:
    if fine:
        assert flops.compare(count, 1.0) == count
    else:
        assert code(flops.compare, count, 1.0) == "AX094"


def test_made_up_lengths_are_those_of_nli_or_all_alike() -> None:
    found = shapes.lengths("nli", 5000)
    assert found.mean() == pytest.approx(39, abs=1.5)
    assert (found.min(), found.max()) == (8, 105)
    assert set(shapes.lengths("64", 10)) == {64}
    assert code(shapes.lengths, "long", 10) == "AX070"
    assert code(shapes.lengths, "513", 10) == "AX070"


def test_a_made_up_world_gives_sequences_of_exactly_the_lengths_asked_for(settings: Settings) -> None:
    from adaptx import learner
    from adaptx.bench.workload import job_of

    one = bench_toy.shaped(lengths="17", limit=30)
    world = shapes.world(settings, one)
    features = learner.build(job_of(world, one)).parts["synthetic"].features["train"]
    assert set((features.offsets[1:] - features.offsets[:-1]).tolist()) == {17}
    assert features.ids.min() >= 0 and features.ids.max() < 500
    assert (features.ids == 3).sum() == 0, "no word is unknown to the tokenizer"


def test_a_shape_that_is_not_there_is_refused(settings: Settings) -> None:
    assert code(shapes.world, settings, bench_toy.shaped(shape="xlm-roberta-larg")) == "AX004"


def test_a_shape_has_the_parameters_of_its_model() -> None:
    """XLM-R Large without a pooler: 559.9 M less 1.05 M (Conneau et al. 2020, 550 M in their table 1)."""
    config = shapes.known()["xlm-roberta-large"]
    names = ("hidden_size", "intermediate_size", "num_hidden_layers")
    body = SimpleNamespace(**{n: config[n] for n in names})
    from adaptx.bench.session import body as weights

    embeddings = (config["vocab_size"] + 514 + 1 + 2) * 1024
    assert weights(body) + embeddings == 558_840_832


def test_neighbours_in_a_plan_share_their_setting(settings: Settings) -> None:
    block = BLOCK.model_copy(update={"batch_tokens": (128, 256), "repeats": 1})
    specs, _ = plan.expand([block], settings)
    assert [k for k, _ in groupby(s.batch_tokens for s in specs)] == [128, 256]
