"""The GPU suite: its plan, and its whole path on a CPU with the smallest shape."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import toy

ROOT = toy.TESTS.parent
CALL = [sys.executable, "-c", "from adaptx.cli import main; main()", "bench", "cost", "--suite", "gpu"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("ADAPTX_")}
    env |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([*CALL, *arguments], env=env, capture_output=True, text=True, timeout=800)


def test_the_make_target_prints_its_plan_without_measuring(tmp_path: Path) -> None:
    command = ["make", "--silent", "bench-gpu", "DRY=1", f"PYTHON={sys.executable}", f"OUT={tmp_path / 'out'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    names = [line for line in done.stdout.splitlines() if line.startswith(("steps-", "serve-"))]
    assert names[0].startswith("steps-full-xlm-roberta-large-synthetic")
    assert len(names) == len(set(names)) > 50
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_suite_runs_to_its_report_with_the_smallest_shape_and_goes_on_where_it_was(tmp_path: Path) -> None:
    out, flags = tmp_path / "out", ("--shapes", "toy", "--max-steps", "1", "--warm-up", "0", "--repeats", "1")
    places = ("--cache", str(tmp_path / "cache"), "--store", str(tmp_path / "store"), "--out", str(out))
    small = ("--methods", "lora", "--batch-tokens", "256", "--limit", "40", "--precision", "fp32", "--json")
    first = run(*flags, *places, *small, "--device", "cpu", "--profile", "paper", "--minutes", "0")
    assert first.returncode == 0, first.stderr
    left = json.loads(first.stdout)["left"]
    done = run(*flags, *places, *small, "--device", "cpu", "--profile", "paper")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["failed"] == {} and value["left"] == []
    assert len(value["runs"]) == len(left) == len(list(out.glob("*.json")))
    assert {r["what"] for r in value["runs"]} == {"steps", "serve"}
    assert {r["label"] for r in value["runs"]} == {"lora", "lora+padded"}
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("*.json")}
    again = run(*flags, *places, *small, "--device", "cpu", "--profile", "paper")
    assert json.loads(again.stdout)["runs"] == value["runs"]
    assert before == {p.name: p.stat().st_mtime_ns for p in out.glob("*.json")}


@pytest.mark.gpu
def test_a_gpu_measures_its_memory_its_steps_and_its_energy(tmp_path: Path) -> None:
    places = ("--cache", str(tmp_path / "cache"), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"))
    done = run("--shapes", "mini", "--methods", "full", "--repeats", "1", *places, "--json")
    assert done.returncode == 0, done.stderr
    for record in json.loads(done.stdout)["runs"]:
        if record["what"] != "steps":
            continue
        m = record["memory"]
        assert 0 < m["weights_bytes"] < m["peak_allocated_bytes"] <= m["peak_reserved_bytes"] <= m["device_used_bytes"]
        assert 0 < record["utilisation"] < 1
        assert record["energy"] is None or record["energy"]["joules"] > 0
