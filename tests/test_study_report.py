"""What a study says about itself: the analysis of a table, the report as one file, the exports."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adaptx.study import charts, export, report, results
from adaptx.study.analysis import Analysis, analyse, grid, significant
from adaptx.study.plan import Gap, Study
from adaptx.study.sentences import say

EFFECTS = {("none", "none"): 0.0, ("en", "anli"): 0.0, ("en", "qqp"): 0.05, ("sv", "anli"): 0.25, ("sv", "qqp"): 0.05}
ITEMS = 200


def fabricated(store: Path, lost: tuple[str, str, int] | None = None) -> pd.DataFrame:
    """A results table over planted effects: sv/anli is far better than the rest; `lost` names a collapsed cell."""
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for seed in range(3):
        shared = rng.random(ITEMS)
        for (source, task), effect in EFFECTS.items():
            own = np.where(rng.random(ITEMS) < 0.9, shared, rng.random(ITEMS))
            right = (own < 0.5 + effect + rng.normal(0, 0.005)).astype(float)
            file = store / "scores" / f"{source}-{task}-{seed}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"stats": np.column_stack([right, np.ones(ITEMS)]).tolist()}))
            bad = lost == (source, task, seed)
            rows.append(
                {
                    **dict.fromkeys(results.COLUMNS, ""),
                    "language": "fi", "source": source, "task": task, "method": "pfeiffer", "variant": "main",
                    "seed": seed, "target": "udpos", "metric": "accuracy", "leading": True,
                    "score": 0.01 if bad else right.mean(), "low": right.mean() - 0.05, "high": right.mean() + 0.05,
                    "n": float(ITEMS), "chance": 0.1, "status": "collapsed" if bad else "ok",
                    "flags": "collapsed: x <script>" if bad else "", "english_dev": right.mean(),
                    "train_seconds": 60.0 + 10 * len(source), "intermediate_seconds": 30.0, "target_seconds": 30.0,
                    "intermediate_run": f"i{source}{task}{seed}", "target_run": f"t{source}{task}{seed}",
                    "train_tokens": 1000, "trainable_parameters": 1000, "peak_memory_bytes": 1, "device": "a cpu",
                    "metric_key": "accuracy", "score_file": file.relative_to(store).as_posix(),
                    "stack": f"{source}/{task}:pfeiffer@0000",
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(results.COLUMNS))


def analysed(store: Path, lost: tuple[str, str, int] | None = None) -> Analysis:
    study = Study(
        title="A <b>study</b>", language="fi", sources=("en", "sv"), tasks=("anli", "qqp"), targets=("udpos",),
        orderings={"by hand": ("sv", "en")},
    )  # fmt: skip
    return analyse("study-1", study, (Gap("da/qqp", "no data"),), fabricated(store, lost), store)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analysed(tmp_path_factory.mktemp("store"))


def test_the_planted_difference_is_significant_and_equal_systems_are_not(analysis: Analysis) -> None:
    found = {(d.system.source, d.system.task, d.against): significant(d) for d in analysis.deltas}
    assert found["sv", "anli", "none"] and found["sv", "anli", "English"]
    assert not found["en", "anli", "none"]
    assert ("en", "anli", "English") not in found, "a system is not compared with itself"
    assert ("none", "none", "none") not in found


def test_a_collapsed_run_is_in_no_mean_and_is_told_apart(tmp_path: Path) -> None:
    whole, less = analysed(tmp_path / "a"), analysed(tmp_path / "b", ("sv", "anli", 1))
    rows = {(r.system.source, r.system.task): r for r in less.rows}
    row = rows["sv", "anli"]
    assert row.summary is not None and (row.summary.n, row.lost) == (2, 1) and row.summary.mean > 0.6
    assert any("1 collapsed" in s for s in say(less)) and not any("collapsed" in s for s in say(whole))
    # the grid without holes keeps both sources and tasks and gives up the seed
    assert [v.shape for v in whole.variances] == [(2, 2, 3)] and [v.shape for v in less.variances] == [(2, 2, 2)]


def test_a_grid_with_too_many_holes_is_no_grid() -> None:
    rows = [("en", "a", 0, 0.1), ("en", "a", 1, 0.2), ("sv", "b", 0, 0.3), ("sv", "b", 1, 0.4)]
    assert grid(pd.DataFrame(rows, columns=["source", "task", "seed", "score"])) is None


def test_choices_and_regret_follow_the_planted_order(analysis: Analysis) -> None:
    (choice,) = analysis.choices
    assert choice.score == pytest.approx(choice.best), "here English dev scores are the target scores"
    regrets = {r.ordering: r.at for r in analysis.regrets}
    assert regrets["by hand"][1] < regrets["alphabetical (no belief)"][1]
    assert regrets["by hand"][2] == 0.0


def test_the_sentences_claim_only_what_was_found(analysis: Analysis) -> None:
    text = " ".join(say(analysis))
    assert "1 score above English" in text and "sv/anli" in text
    assert "is not shown to be absent" in text and "bound, not a result" in text and "da/qqp" in text


class Page(HTMLParser):
    """Collects what a page refers to and whether its tags are balanced."""

    VOID = {"meta", "link", "input", "br"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.links += [v or "" for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_file_that_asks_for_nothing_and_escapes_what_it_shows(tmp_path: Path) -> None:
    text = report.render(analysed(tmp_path, ("en", "qqp", 2)))
    page = Page()
    page.feed(text)
    assert page.open == [] and page.links == ["data:,"]
    assert not re.search(r'(src|href)="https?://', text) and "@import" not in text and "url(" not in text
    assert "A &lt;b&gt;study&lt;/b&gt;" in text and "x <script>" not in text
    assert [t for t, _ in page.tags].count("script") == 1


def test_every_table_has_a_caption_and_every_chart_a_name(analysis: Analysis) -> None:
    page = Page()
    text = report.render(analysis)
    page.feed(text)
    tags = [t for t, _ in page.tags]
    assert tags.count("caption") == tags.count("table") and tags.count("figcaption") == tags.count("figure")
    charts_found = [a for t, a in page.tags if t == "svg"]
    assert len(charts_found) == 4 and all(a["role"] == "img" and a["aria-label"] for a in charts_found)
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text
    assert tags.count("select") == text.count("<label>") - 1  # every filter has a label, and so has the search


def test_exports_are_complete_and_readable(analysis: Analysis, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    files = {p.name: p for p in export.write(analysis, tmp_path)}
    assert len(pd.read_csv(files["results.csv"])) == len(pd.read_parquet(files["results.parquet"])) == 15
    statistics = json.loads(files["statistics.json"].read_text())
    assert len(statistics["systems"]) == 5 and {"anova", "mixed_model"} <= statistics["variance"][0].keys()
    for name in ("udpos-vs-english.svg", "udpos-vs-none.svg", "udpos-cost.svg", "variance.svg"):
        ElementTree.fromstring(files[name].read_text())
    table = files["table.tex"].read_text()
    assert table.count(r"\\") == 1 + 5 and r"$^\dagger$" in table
    assert export.tex("a_b & 5 %") == r"a\_b \& 5 \%"


def test_ticks_are_round_and_the_front_holds_what_nothing_beats() -> None:
    assert charts.ticks(0, 10) == pytest.approx([0, 2, 4, 6, 8, 10])
    assert charts.ticks(-0.35, 0.35) == pytest.approx([-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3], abs=1e-9)
    points = [("cheap", 1.0, 50.0), ("good", 5.0, 70.0), ("dear", 6.0, 60.0), ("same", 5.0, 69.0)]
    assert [p[0] for p in charts.pareto(points)] == ["cheap", "good"]


DRIVER = """
<script>
window.faults = [];
window.addEventListener("error", e => faults.push(e.message));
window.addEventListener("load", () => {
  const visible = () => [...document.querySelectorAll("#runs tbody tr")].filter(r => !r.hidden);
  const all = visible().length, source = document.querySelector("select[data-column='0']");
  source.value = "sv"; source.dispatchEvent(new Event("change"));
  const filtered = visible().map(r => r.cells[0].textContent);
  document.querySelector("#reset").click();
  const score = document.querySelectorAll("#runs th button")[7];
  score.click();
  const up = visible().map(r => +r.cells[7].dataset.value);
  score.click();
  const down = visible().map(r => +r.cells[7].dataset.value);
  document.title = JSON.stringify({faults, all, filtered, up, down, wide: document.documentElement.scrollWidth});
});
</script>
"""


@pytest.mark.browser
def test_in_a_browser_a_filter_filters_the_table_sorts_and_nothing_complains(
    analysis: Analysis, tmp_path: Path
) -> None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium here")
    file = tmp_path / "report.html"
    file.write_text(report.render(analysis).replace("<head>", "<head>" + DRIVER, 1), "utf-8")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=400,800",
        "--enable-logging=stderr",
    ]
    done = subprocess.run([*command, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stdout[:500]
    seen = json.loads(title[1].replace("&quot;", '"'))
    assert seen["faults"] == [] and seen["all"] == 15
    assert seen["filtered"] == ["sv"] * 6
    assert seen["up"] == sorted(seen["up"]) and seen["down"] == sorted(seen["up"], reverse=True)
    assert seen["wide"] <= 500, "the page itself does not scroll sideways on a phone"
