"""What a measurement says, checked against what it is made of: tokens, operations, memory, phases, provenance."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import bench_toy
import toy
from adaptx import provenance, store
from adaptx.bench import energy, gemm, harness, memory, results
from adaptx.bench.places import Places
from adaptx.bench.spec import Spec
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.resident import resident

METHODS = ("full", "full+8bit", "full+ckpt", "full+padded", "pfeiffer", "houlsby", "parallel", "lora", "dora", "ia3",
           "qlora", "prefix+padded", "probe", "pfeiffer+upper", "lora+upper",
           "pfeiffer+int8", "lora+int8")  # fmt: skip
KEEPS = {"probe", "pfeiffer+upper", "lora+upper"}  # nothing to train in the lowest layers


@pytest.fixture(scope="module")
def measured(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The record of a method over the toy world, measured once."""
    settings = toy.settings(world, tmp_path_factory.mktemp("bench") / "store")
    known: dict[str, dict[str, Any]] = {}

    def of(label: str) -> dict[str, Any]:
        if label not in known:
            known[label] = bench_toy.measured(settings, bench_toy.spec(label))
        return known[label]

    return of


@pytest.mark.parametrize("label", METHODS)
def test_operations_counted_and_by_formula_agree_to_a_tenth(label: str, measured: Any) -> None:
    assert measured(label)["flops"]["ratio"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("label", METHODS)
def test_a_record_holds_what_it_is_made_of(label: str, measured: Any) -> None:
    record = measured(label)
    steps, work = record["steps"], record["workload"]
    first_pass = 3 if label in KEEPS else 0
    assert (len(steps["seconds"]), len(steps["warm_up_seconds"]), len(steps["losses"])) == (3, 1, 4 + first_pass)
    assert sum(steps["tokens"]) == work["tokens"] <= 3 * 128
    assert record["tokens_per_s"] == pytest.approx(work["tokens"] / sum(steps["seconds"]))
    assert 0 < record["utilisation"] <= record["utilisation_executed"] * 1.0001
    phases = {"start", "read", "load", "tokenise", "attach", "train", "evaluate", "save"}
    assert phases <= record["seconds"].keys()
    assert all(v >= 0 for v in record["seconds"].values())
    assert record["seconds"]["train"] >= sum(steps["seconds"])
    assert record["energy"] is None, "there is no counter here, and no zero stands for that"
    assert all(record["provenance"][key] for key in results.REQUIRED)


@pytest.mark.parametrize("task", ["toynli", "toytext"])
@pytest.mark.parametrize("label", ["full", "pfeiffer"])
def test_operations_agree_for_the_other_kinds_of_task_too(label: str, task: str, settings: Settings) -> None:
    record = bench_toy.measured(settings, bench_toy.spec(label, task=task))
    assert record["flops"]["ratio"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("label", "shape"), [("lora", "toy"), ("lora+upper", "micro"), ("pfeiffer+upper", "micro")])
def test_operations_agree_on_a_made_up_shape(label: str, shape: str, settings: Settings) -> None:
    record = bench_toy.measured(settings, bench_toy.shaped(label, lengths="64", batch_tokens=256, shape=shape))
    assert record["flops"]["ratio"] == pytest.approx(1, abs=0.05)
    assert record["workload"]["mean_length"] == record["workload"]["longest"] == 64


def test_padding_is_not_counted_as_tokens_but_as_work(measured: Any) -> None:
    packed, padded = measured("full"), measured("full+padded")
    assert packed["workload"]["tokens"] == padded["workload"]["tokens"]
    assert packed["workload"]["padded_tokens"] > packed["workload"]["tokens"]
    assert padded["utilisation_executed"] > padded["utilisation"]
    assert packed["utilisation_executed"] == pytest.approx(packed["utilisation"])
    assert padded["flops"]["formula"] > packed["flops"]["formula"] == padded["flops"]["formula_without_padding"]


def test_optimiser_state_is_two_moments_a_weight_or_two_bytes_in_8_bits(measured: Any) -> None:
    full = measured("full")
    weights = full["parameters"]["trainable"] + full["parameters"]["head"]
    assert full["memory"]["gradient_bytes"] == 4 * weights
    assert 8 * weights <= full["memory"]["optimiser_bytes"] <= 8 * weights + 4 * 200  # and a step count a tensor
    assert measured("full+8bit")["memory"]["optimiser_bytes"] < full["memory"]["optimiser_bytes"]


def test_what_is_trained_and_kept_follows_the_method(measured: Any) -> None:
    trained = {label: measured(label)["parameters"]["trainable"] for label in METHODS}
    assert trained["probe"] == 0 < trained["ia3"] < trained["pfeiffer"] < trained["full"]
    disk = {label: measured(label)["disk"]["adapter_bytes"] for label in METHODS}
    assert disk["probe"] == 0 < disk["ia3"] < disk["full"]
    activations = {label: measured(label)["memory"]["activation_bytes"] for label in METHODS}
    assert activations["probe"] < activations["pfeiffer"] < activations["full"]
    assert activations["full+ckpt"] < activations["full"]


def test_what_enters_the_lowest_trained_layer_is_kept_where_there_is_such_a_thing_and_costs_no_more_later(
    measured: Any,
) -> None:
    for label in METHODS:
        assert (measured(label)["kept"] is not None) == (label in KEEPS)
    whole, upper = measured("pfeiffer"), measured("pfeiffer+upper")
    assert upper["kept"]["layers"] == 1
    hidden, width = 64, 4  # the toy backbone; fp32
    tokens = upper["workload"]["tokens"]  # of the first pass as well; the warm-up step is kept beside
    assert tokens * hidden * width < upper["kept"]["bytes"] < 2 * tokens * hidden * width
    assert upper["kept"]["first_pass"]["n"] == 3
    assert upper["flops"]["formula"] < 0.7 * whole["flops"]["formula"]
    assert upper["parameters"]["trainable"] < whole["parameters"]["trainable"]


def test_a_method_without_a_packed_form_is_refused_as_packed(settings: Settings) -> None:
    from adaptx.bench import worker

    outcome = worker.perform(bench_toy.order(settings, bench_toy.spec("prefix")))
    assert outcome["error"]["code"] == "AX051"


def test_later_repetitions_do_not_count_operations_again(settings: Settings) -> None:
    record = bench_toy.measured(settings, bench_toy.spec("probe", repetition=1))
    assert record["flops"]["counted"] is record["flops"]["ratio"] is None
    assert record["flops"]["formula"] > 0


@pytest.mark.slow
def test_a_process_of_its_own_is_read_from_outside_as_from_inside(settings: Settings) -> None:
    """Peak memory seen from outside and by the process itself differ by two per cent at most; wall time holds all phases.

    However large the process that starts it is."""
    ballast = torch.ones(500_000_000)  # 2 GB here are none of the child's
    record = harness.measure(bench_toy.spec(), Places.of(settings), limit=300)
    assert ballast.numel()
    outside = record["outside"]
    assert outside["max_rss_bytes"] == pytest.approx(record["own_peak_rss_bytes"], rel=0.02)
    assert record["memory"]["peak_rss_bytes"] <= record["own_peak_rss_bytes"]
    phases = ("start", "read", "load", "tokenise", "attach", "train", "evaluate", "save", "count", "gemm")
    spent = sum(record["seconds"][k] for k in phases)
    assert spent <= outside["wall_seconds"]


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/usr/bin/time", os.X_OK), reason="/usr/bin/time is not installed")
def test_peak_memory_agrees_with_usr_bin_time(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "outcome.json"
    order = {**bench_toy.order(settings, bench_toy.spec("lora")), "out": str(out)}
    command = ["/usr/bin/time", "-v", sys.executable, "-m", "adaptx.bench.worker"]
    env = {**os.environ, "PYTHONPATH": str(toy.TESTS.parent / "src")}
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    found = re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr)
    assert found is not None
    own = json.loads(out.read_text())["result"]["own_peak_rss_bytes"]
    assert own == pytest.approx(1024 * int(found[1]), rel=0.02)


def test_a_process_that_takes_too_long_is_ended_and_says_so(settings: Settings) -> None:
    with pytest.raises(AdaptxError, match="longer than allowed") as caught:
        harness.measure(bench_toy.spec(), Places.of(settings), limit=0.2)
    assert caught.value.code == "AX095"


@pytest.mark.slow
def test_an_error_in_the_process_keeps_its_code(settings: Settings) -> None:
    with pytest.raises(AdaptxError) as caught:
        harness.measure(bench_toy.spec(task="toyposs"), Places.of(settings), limit=300)
    assert caught.value.code == "AX002"


def test_resident_memory_sees_an_allocation_and_its_end() -> None:
    before = resident()[0]
    block = torch.ones(25_000_000)
    now, peak = resident()
    assert now - before == pytest.approx(100e6, rel=0.1)
    del block
    assert resident()[1] == pytest.approx(peak, abs=5e6)  # the kernel sums its counters now and then
    if memory.reset_peak():
        assert resident()[1] < peak - 50e6


def test_activations_are_what_autograd_keeps_and_weights_are_none_of_it() -> None:
    layer = torch.nn.Linear(100, 50, bias=False)
    with memory.watching_activations(layer) as kept:
        layer(torch.ones(10, 100, requires_grad=True)).relu().sum()
    # the input [10, 100] for the weight's gradient and the output of relu [10, 50]
    assert kept.bytes == 4 * (10 * 100 + 10 * 50)


def test_shared_storages_count_once() -> None:
    first, second = torch.nn.Linear(10, 10), torch.nn.Linear(10, 10)
    apart = memory.tensor_bytes(first, second)
    second.weight = first.weight
    assert apart - memory.tensor_bytes(first, second) == 400


def test_energy_is_what_the_counter_says_with_the_idle_part_apart() -> None:
    """A counter of a device that draws 50 W when idle and 150 W while measured."""
    clock = {"watts": 50.0, "at": time.monotonic(), "joules": 0.0}

    def joules() -> float:
        now = time.monotonic()
        clock["joules"] += clock["watts"] * (now - clock["at"])
        clock["at"] = now
        return clock["joules"]

    meter = energy.Meter(joules, idle_seconds=0.02)
    assert meter.idle_watts == pytest.approx(50, rel=0.05)
    joules()
    clock["watts"] = 150.0
    meter.start()
    time.sleep(0.05)
    found = meter.stop()
    assert found["mean_watts"] == pytest.approx(150, rel=0.05)
    assert found["joules_above_idle"] == pytest.approx(100 * found["window_seconds"], rel=0.1)


def test_a_processor_has_no_energy_counter_and_the_reason_is_kept() -> None:
    assert energy.gpu("cpu") == (None, "energy is read from NVIDIA GPUs only")


def test_the_devices_own_speed_is_the_best_of_its_shapes() -> None:
    with bench_toy.quick():
        found = gemm.best(torch.device("cpu"), "fp32")
    assert found["flops_per_s"] == max(found["rates"].values()) > 0


def test_time_to_a_score_ends_at_the_first_score_that_reaches_it(settings: Settings) -> None:
    easy = bench_toy.spec(what="target", target_score=0.0, epochs=1.0, warm_up=0, steps=0)
    found = bench_toy.measured(settings, easy)["target"]
    assert found["reached"] and len(found["curve"]) == 1
    assert found["seconds"] == found["curve"][0]["seconds"] > 0


def test_a_score_that_is_not_reached_has_no_time(settings: Settings) -> None:
    hard = bench_toy.spec(what="target", target_score=1.1, epochs=2.0, warm_up=0, steps=0)
    found = bench_toy.measured(settings, hard)["target"]
    assert not found["reached"]
    assert found["seconds"] is found["tokens"] is None
    assert found["curve"][-1]["step"] == found["planned_steps"]
    assert all(a["seconds"] < b["seconds"] for a, b in pairwise(found["curve"]))


def test_n_adapters_take_n_times_their_weights_and_one_backbone_and_n_models_n_backbones(settings: Settings) -> None:
    def weights(label: str, n: int) -> int:
        one = bench_toy.shaped(label, what="serve", adapters=n, warm_up=0, steps=0)
        value: int = bench_toy.measured(settings, one)["serve"]["weights_bytes"]
        return value

    lora = [weights("lora", n) for n in (1, 2, 3)]
    assert lora[2] - lora[1] == lora[1] - lora[0] < lora[0] / 4
    full = [weights("full", n) for n in (1, 2, 3)]
    assert full[1:] == [2 * full[0], 3 * full[0]]


def test_an_accuracy_run_is_an_ordinary_run_and_found_again(settings: Settings) -> None:
    one = bench_toy.spec(what="accuracy", target_lang="qaa", epochs=1.0, warm_up=0, steps=0)
    first = bench_toy.measured(settings, one)
    [kept] = store.listing(settings.store)
    assert first["accuracy"]["ref"] == kept.ref
    assert (first["accuracy"]["n"], first["accuracy"]["found"]) == (16, False)
    again = bench_toy.measured(settings, one)
    assert again["accuracy"] == {**first["accuracy"], "found": True}
    assert again["train_seconds"] == first["train_seconds"] == kept.manifest.cost["seconds"]["train"]


def test_the_same_code_has_the_same_digest_and_other_code_another(tmp_path: Path) -> None:
    first = provenance.code_digest()
    copy = tmp_path / "adaptx"
    shutil.copytree(toy.TESTS.parent / "src" / "adaptx", copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from adaptx import provenance; print(provenance.code_digest())"

    def digest() -> str:
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)},
                              capture_output=True, text=True, check=True)  # fmt: skip
        return done.stdout.strip()

    assert digest() == first
    (copy / "units.py").write_text((copy / "units.py").read_text() + "\n")
    assert digest() != first


def test_a_spec_survives_its_way_through_json() -> None:
    one = bench_toy.shaped("full+8bit", target_score=0.5)
    assert Spec.model_validate(json.loads(json.dumps(one.model_dump(mode="json")))) == one
