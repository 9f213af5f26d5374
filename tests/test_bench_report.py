"""Results on disk and their report: provenance, files that are never replaced, tables, charts, one page, Markdown."""

import copy
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import bench_toy
import toy
from adaptx import cli
from adaptx.bench import curves, pages, prices, report, results, summary
from adaptx.bench.spec import Spec
from adaptx.errors import AdaptxError


@pytest.fixture(scope="module")
def records(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """One measured record of every sort."""
    settings = toy.settings(world, tmp_path_factory.mktemp("bench") / "store")
    none = {"warm_up": 0, "steps": 0}
    specs = [
        *(bench_toy.spec(m) for m in ("full", "pfeiffer", "lora")),
        bench_toy.shaped("lora", what="serve", adapters=2, **none),
        bench_toy.spec("lora", what="target", target_score=1.1, epochs=1.0, **none),
        *(
            bench_toy.spec(m, what="accuracy", target_lang="qaa", epochs=1.0, seed=s, **none)
            for m in ("full", "lora")
            for s in (0, 1, 2)
        ),
    ]
    return [bench_toy.measured(settings, s) for s in specs]


@pytest.fixture
def folder(records: list[dict[str, Any]], tmp_path: Path) -> Path:
    return bench_toy.put(tmp_path / "results", *records)


def grown(record: dict[str, Any], batch: int, seconds: float) -> dict[str, Any]:
    """The same measurement with another batch and another step time."""
    out = copy.deepcopy(record)
    out["spec"]["batch_tokens"] = batch
    out["workload"] |= {"tokens": batch * out["workload"]["steps"]}
    out["steps"] |= {"median": seconds, "seconds": [seconds] * 3}
    return out


def test_rows_along_a_curve_come_in_the_order_of_their_numbers(records: list[dict[str, Any]]) -> None:
    [one] = [r for r in records if r["what"] == "serve"]
    made = [{**one, "spec": {**one["spec"], "adapters": n}} for n in (16, 1, 4)]
    assert [g.spec.adapters for g in summary.groups(made, "serve")] == [1, 4, 16]


@pytest.mark.parametrize("lost", results.REQUIRED)
def test_a_result_without_provenance_is_refused_by_name(lost: str, folder: Path) -> None:
    path = min(folder.glob("*.json"))
    value = json.loads(path.read_text())
    value["provenance"][lost] = None
    path.write_text(json.dumps(value))
    with pytest.raises(AdaptxError, match=lost) as caught:
        results.read_all([folder])
    assert caught.value.code == "AX093"
    assert path.name in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"provenance": {}}', '{"schema_version": 2}'])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    toy.put(tmp_path / "x.json", text)
    with pytest.raises(AdaptxError) as caught:
        results.read_all([tmp_path])
    assert caught.value.code == "AX093"


def test_an_empty_folder_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(AdaptxError, match="adaptx bench cost") as caught:
        results.read_all([tmp_path])
    assert caught.value.code == "AX011"


def test_a_result_is_never_replaced(records: list[dict[str, Any]], tmp_path: Path) -> None:
    spec = Spec.model_validate(records[0]["spec"])
    path = results.write(tmp_path, spec, records[0])
    before = path.read_bytes()
    with pytest.raises(AdaptxError) as caught:
        results.write(tmp_path, spec, {**records[0], "method": "other"})
    assert caught.value.code == "AX072"
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_no_result_holds_a_path_of_this_machine_or_its_user(records: list[dict[str, Any]], world: toy.World) -> None:
    text = json.dumps(records)
    assert str(world.root) not in text
    assert str(Path.home()) not in text


def test_a_folder_is_named_after_the_day_and_the_machine() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-[a-z0-9-]+-\d+c", results.folder_name("cpu"))
    assert results.hardware_name({"gpu": "NVIDIA H100 80GB HBM3", "cpu": "x"}) == "nvidia-h100-80gb-hbm3"


def test_every_number_says_which_way_it_gets_better(records: list[dict[str, Any]]) -> None:
    value = report.analyse(records, prices.load())
    heads = {c.title: c.better for _, columns, _ in report.tables_of(value) for c in columns}
    assert heads["tokens/s"] == heads["score"] == heads["utilisation"] == "higher"
    assert heads["peak memory"] == heads["ms a step"] == heads["$/1M tokens"] == heads["trained weights"] == "lower"
    text = pages.markdown(value)
    assert "tokens/s ↑" in text and "peak memory ↓" in text


def test_accuracy_is_the_mean_and_spread_over_seeds(records: list[dict[str, Any]]) -> None:
    value = report.analyse(records, prices.load())
    rows = {r["label"]: r for r in value.accuracy}
    scores = [r["accuracy"]["metrics"]["f1"] for r in records if r["what"] == "accuracy" and r["method"] == "lora"]
    assert rows["lora"]["seeds"] == 3
    assert rows["lora"]["mean"] == pytest.approx(sum(scores) / 3)
    assert rows["full"]["trainable_parameters"] > rows["lora"]["trainable_parameters"]


def test_repetitions_are_one_row_and_other_settings_rows_of_their_own(records: list[dict[str, Any]]) -> None:
    again = copy.deepcopy(records[0])
    again["spec"]["repetition"] = 1
    other = copy.deepcopy(records[0])
    other["spec"]["steps"] = 4
    value = report.analyse([records[0], again, other], prices.load())
    assert [r["repetitions"] for r in value.cost] == [2, 1]
    assert value.cost[0]["step_seconds"]["n"] == 6


def test_a_cost_that_grows_as_a_power_is_fitted_as_that_power(records: list[dict[str, Any]]) -> None:
    family = [grown(records[0], n, 1e-3 * n**0.8) for n in (128, 256, 512, 1024)]
    value = report.analyse(family, prices.load())
    [found] = [s for s in value.series if s.value == "seconds a step"]
    assert found.fit is not None
    assert found.fit.exponent == pytest.approx(0.8)
    svg = curves.chart("growth", [found], "tokens", "seconds")
    assert "x^0.80" in svg
    ElementTree.fromstring(svg)


def test_two_sizes_make_no_curve(records: list[dict[str, Any]]) -> None:
    assert report.analyse([grown(records[0], n, 1.0) for n in (128, 256)], prices.load()).series == ()


def test_a_difference_within_the_noise_is_not_called_one(records: list[dict[str, Any]]) -> None:
    def again(record: dict[str, Any], seconds: float, repetition: int) -> dict[str, Any]:
        out = grown(record, 128, seconds)
        out["spec"]["repetition"] = repetition
        out["cpu_share"] = 1.0
        return out

    noisy = [again(r, s, i) for r in records[:3] for i, s in enumerate((1.0, 2.0, 3.0))]
    said = list(report.sentences(report.analyse(noisy, prices.load())))
    assert len(said) == 2 and all("no clear difference in speed" in s for s in said)
    clear = [again(r, (k + 1) + 0.001 * i, i) for k, r in enumerate(records[:3]) for i in range(3)]
    said = list(report.sentences(report.analyse(clear, prices.load())))
    assert all("times its tokens/s" in s for s in said)


def test_a_busy_machine_is_named(records: list[dict[str, Any]]) -> None:
    busy = copy.deepcopy(records[:3])
    busy[1]["cpu_share"] = 0.4
    for quiet in (busy[0], busy[2]):
        quiet["cpu_share"] = 0.99
    said = [s for s in report.sentences(report.analyse(busy, prices.load())) if "Other processes" in s]
    assert len(said) == 1
    assert "pfeiffer" in said[0] and "full" not in said[0]


def test_the_page_needs_nothing_else_and_holds_all_tables_and_charts(folder: Path) -> None:
    value = report.analyse(results.read_all([folder]), prices.load())
    (folder / "charts").mkdir()
    for name in ("07-of-another-report.svg", "mine.svg"):
        (folder / "charts" / name).write_text("<svg/>")
    files = pages.write(value, folder)
    assert {p.name for p in (folder / "charts").iterdir()} == {p.name for p in files if p.suffix == ".svg"} | {"mine.svg"}
    page = (folder / "report.html").read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert page.count("<svg") == len([f for f in files if f.suffix == ".svg"]) == 2
    assert page.count("<h2") == page.count("</section>")
    for name in ('id="runs"', 'id="search"', 'id="reset"', 'id="shown"', "data-column"):
        assert name in page, "the page's script asks for it"
    text = (folder / "report.md").read_text("utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (folder / link).is_file()


def test_the_page_and_the_markdown_hold_the_same_rows(folder: Path) -> None:
    value = report.analyse(results.read_all([folder]), prices.load())
    text, page = pages.markdown(value), pages.html(value)
    for title, columns, rows in (*report.tables_of(value), *report.details_of(value)):
        assert f"## {title}" in text
        for row in rows:
            cells = [c.text(row) for c in columns]
            assert "| " + " | ".join(cells) + " |" in text
            assert all(cell.replace("&", "&amp;") in page for cell in cells)


def test_names_in_records_cannot_break_out_of_the_page(records: list[dict[str, Any]]) -> None:
    bad = copy.deepcopy(records[:1])
    bad[0]["spec"]["backbone"] = "<script>alert(1)</script>"
    assert "<script>alert" not in pages.html(report.analyse(bad, prices.load()))


def test_the_verb_writes_the_report_and_prints_its_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["adaptx", "bench", "report", str(folder), "--json"])
        with pytest.raises(SystemExit) as done:
            cli.main()
    assert done.value.code == 0
    value = json.loads(capsys.readouterr().out)
    assert {Path(f).name for f in value["files"]} >= {"report.html", "report.md"}
    assert {r["label"] for r in value["table"]} == {"full", "pfeiffer", "lora"}
