"""`adaptx study` as somebody uses it: plan, run, status, report, export, and what each of them refuses."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import browser
import toy
from adaptx import atomic
from adaptx.study import results
from shop import Outcome, call, surroundings
from study_toy import VALUES, planned

FAULTS = {
    "sources": ["xx", "qaa", "qaa"],
    "tasks": ["toynlj", "toypairs"],
    "targets": ["toynli"],
    "methods": ["lorra"],
    "seeds": [-1],
    "intermediate": {"limit": 0},
}


@pytest.fixture(scope="module")
def place(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the toy study's file, and an environment that points at the toy world and an empty store."""
    folder = tmp_path_factory.mktemp("study")
    s = toy.settings(world, folder / "store")
    values = {"STORE": s.store, "CACHE": s.cache, "DATA": s.data_root, "REGISTRY": world.registry, "DEVICE": "cpu"}
    twins = {f"ADAPTX_{k}": str(v) for k, v in {**values, "BACKBONE": s.backbone}.items()}
    write(folder / "toy.yaml")
    with surroundings(twins):
        yield folder


def write(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**VALUES, "seeds": [0], "sources": ["en", "qaa"], **changes}))
    return path


def refused(code: str, *words: object) -> Outcome:
    """A command that ends with 1, one message with its code, and neither a trace nor a result."""
    done = call("study", *words)
    lines = [line for line in done.err.splitlines() if not line.startswith(("profile ", "study "))]
    assert done.code == 1 and done.out == "", (done.out, done.err)
    assert lines[0].startswith(f"{code} ") and len(lines) == 3 and "Traceback" not in done.err, done.err
    return done


def test_a_study_is_planned_run_told_reported_and_exported(place: Path) -> None:
    file = place / "toy.yaml"
    plan = call("study", "plan", file, "--json").json
    assert plan["steps"] == {"language": 0, "intermediate": 2, "target": 3} and plan["cells"] == 6
    assert (plan["steps_done"], len(plan["steps_left"]), plan["seconds_left"]) == (0, 5, None)
    assert call("study", "status", file).code == 0, "open is not failed"
    measured = call("study", "plan", file, "--measure", "--hourly-price", "3600")
    assert "5 are left" in measured.out and "at 3600 an hour" in measured.out
    assert not (place / "store").exists(), "planning leaves nothing"

    first = call("study", "run", file, "--json")
    assert first.code == 0 and (first.json["trained"], first.json["scored"], first.json["failed"]) == (5, 6, {})
    again = call("study", "run", file, "--json").json
    assert (again["trained"], again["found"], again["scored"]) == (0, 5, 6)
    assert call("study", "plan", file, "--json").json["seconds_left"] == 0
    status = call("study", "status", file, "--json").json
    assert status["done"] == status["steps"] + status["cells"] == 11 and status["open"] == []

    page = place / "out" / "report.html"
    assert call("study", "report", file, "--out", page).out.strip() == str(page)
    assert page.read_text("utf-8").startswith("<!doctype html>")
    files = call("study", "export", file, "--out", place / "tables", "--json").json["files"]
    assert {"results.csv", "results.parquet", "statistics.json", "table.tex"} <= {Path(f).name for f in files}
    assert all(Path(f).stat().st_size for f in files)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(browser.chromium() is None, reason="no Chromium found; ADAPTX_TEST_CHROMIUM names one")
def test_two_sources_two_tasks_and_two_seeds_from_the_file_to_the_browser(place: Path, tmp_path: Path) -> None:
    changes = {"tasks": ["toynli", "toypos"], "targets": ["toypairs"], "seeds": [0, 1]}
    file, page = write(tmp_path / "grid.yaml", **changes), tmp_path / "report.html"
    done = call("study", "run", file, "--json")
    assert done.code == 0 and done.json["trained"] + done.json["found"] == 8 and done.json["scored"] == 10
    assert call("study", "report", file, "--out", page).code == 0

    async def look(tab: browser.Tab) -> None:
        shown = "[...document.querySelectorAll('#runs tbody tr')].filter(r => !r.hidden)"
        assert await tab.run(f"{shown}.length") == 20, "two directions of every score"
        await tab.choose("select[data-column='1']", "toypos")
        assert await tab.run(f"new Set({shown}.map(r => r.cells[1].textContent)).size") == 1
        await tab.click("#runs th:nth-child(8) button")
        scores = await tab.run(f"{shown}.map(r => +r.cells[7].dataset.value)")
        assert scores == sorted(scores) and len(scores) == 8

    assert browser.visit(page.as_uri(), tmp_path / "profile", look).complaints == []


def test_a_report_can_be_had_while_the_rest_is_still_to_do(place: Path, tmp_path: Path) -> None:
    whole, store = write(tmp_path / "whole.yaml", seeds=[0, 1]), tmp_path / "store"
    assert call("study", "run", write(tmp_path / "part.yaml"), "--store", store).code == 0
    refused("AX092", "report", whole, "--store", store)
    # the first cell of the larger study alone, as after a kill
    (part,) = (store / "studies").iterdir()
    lines = (part / "journal.jsonl").read_text().splitlines()
    settings = toy.settings(toy.World(Path(os.environ["ADAPTX_REGISTRY"]).parent), store)
    plan = planned(settings, seeds=[0, 1])
    own = plan.folder(store).with_name(plan.id.replace("study-", "whole-"))
    atomic.write_bytes(own / "journal.jsonl", ("\n".join(lines[:2]) + '\n{"event": "sco').encode())
    assert call("study", "report", whole, "--store", store, "--out", tmp_path / "r.html").code == 0
    assert len(call("study", "status", whole, "--store", store, "--json").json["open"]) == 20
    call("study", "run", whole, "--store", store)
    assert call("study", "status", whole, "--store", store, "--json").json["open"] == []


def test_what_is_wrong_with_a_file_is_one_message(place: Path, tmp_path: Path) -> None:
    wrong = refused("AX010", "plan", write(tmp_path / "wrong.yaml", **FAULTS)).err
    for word in ("sources: something is there twice", "xx", "toynlj", "toypairs is not trained", "seed = -1"):
        assert word in wrong
    assert "toynli is not a target" in wrong and "Did you mean lora" in wrong and "intermediate: limit = 0" in wrong
    for command in ("plan", "run", "status", "report", "export"):
        refused("AX011", command, tmp_path / "nothing.yaml")
    refused("AX072", "plan", tmp_path)
    refused("AX010", "run", toy.put(tmp_path / "list.yaml", "- 1\n"))
    refused("AX010", "run", toy.put(tmp_path / "broken.yaml", "language: [\n"))
    refused("AX010", "status", write(tmp_path / "more.yaml", colour="red"))
    refused("AX014", "plan", write(tmp_path / "none.yaml", sources=["sv"], baselines=[]))
    refused("AX013", "plan", place / "toy.yaml", "--data-root", tmp_path / "nowhere")


def test_what_every_unit_would_fail_for_is_said_once_and_leaves_no_trace(place: Path, tmp_path: Path) -> None:
    file, store = place / "toy.yaml", tmp_path / "store"
    for code, *flags in (
        ("AX004", "--backbone", "nothing-here"),
        ("AX071", "--device", "cuda:9"),
        ("AX070", "--executor", "slurm", "--slurm", "partition"),
        ("AX070", "--executor", "ray", "--ray-address", "127.0.0.1:1"),
    ):
        if "ray" in flags:
            pytest.importorskip("ray")
        refused(code, "run", file, "--store", store, *flags)
    assert not store.exists()
    assert call("study", "run", file, "--executor", "poool").code == 2


def test_a_store_that_has_nothing_or_something_else_is_named(place: Path, tmp_path: Path) -> None:
    file, store = write(tmp_path / "toy.yaml"), tmp_path / "store"
    refused("AX092", "report", file, "--store", store)
    refused("AX092", "export", file, "--store", store)
    assert call("study", "run", file, "--store", store).code == 0
    write(file, title="Another title", orderings={"by hand": ["qaa", "en"]})
    assert call("study", "report", file, "--store", store).code == 0, "a title is no other study"
    write(file, seeds=[0, 7])
    assert "There is toy-" in refused("AX092", "report", file, "--store", store).err
    refused("AX072", "report", write(file), "--store", store, "--out", tmp_path)
    refused("AX072", "export", file, "--store", store, "--out", toy.put(tmp_path / "file", ""))
    shutil.rmtree(store / "scores")
    refused("AX092", "report", file, "--store", store)


def test_two_runs_of_one_study_at_once_are_one(place: Path, tmp_path: Path) -> None:
    file, store = write(tmp_path / "toy.yaml"), tmp_path / "store"
    name = call("study", "status", file, "--store", store, "--json").json["study"]
    with atomic.lock(store / "studies" / name / "lock") as mine:
        assert mine
        refused("AX024", "run", file, "--store", store)
    assert not (store / "studies" / name / f"{results.NAME}.csv").exists()


def test_a_failure_ends_with_one_and_the_rest_is_done(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptx import training
    from adaptx.errors import AdaptxError

    real, file, store = training.run, place / "toy.yaml", tmp_path / "store"

    def breaking(job: Any, *rest: Any) -> Any:
        if (job.recipe.lang, job.recipe.task) == ("qaa", "toynli"):
            raise AdaptxError("AX042", "9 tokens", "the batch did not fit into the device's memory.")
        return real(job, *rest)

    monkeypatch.setattr(training, "run", breaking)
    done = call("study", "run", file, "--store", store)
    assert done.code == 1 and "3 runs trained" in done.out and "4 failed" in done.out
    assert done.out.count("AX042") == 1 and "not run for these failures: 3 more" in done.out
    status = call("study", "status", file, "--store", store)
    assert status.code == 1 and "AX042" in status.out
    assert "4 failed" not in call("study", "report", file, "--store", store, "--out", tmp_path / "r.html").out
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "2 failed. They are listed apart" in text and "did not fit" in text
    monkeypatch.setattr(training, "run", real)
    assert call("study", "run", file, "--store", store).code == 0
