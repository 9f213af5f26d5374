"""What a study shows: the report as one file, in a browser too, and the exports."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import browser
from adaptx.study import charts, export, figures, report
from adaptx.study.findings import Analysis
from study_made import analysed


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """With a collapsed cell."""
    return analysed(tmp_path_factory.mktemp("store"), ("en", "qqp", 2))


class Page(HTMLParser):
    """Collects what a page refers to and whether its tags are balanced."""

    VOID = {"meta", "link", "input", "br"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.outside += [v or "" for k, v in attrs if k in ("src", "href") and not (v or "").startswith(("#", "data:"))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_file_that_asks_for_nothing_and_escapes_what_it_shows(analysis: Analysis) -> None:
    text = report.render(analysis)
    page = Page()
    page.feed(text)
    assert page.open == [] and page.outside == []
    assert not re.search(r'(src|href)="https?://', text) and "@import" not in text and "url(" not in text
    assert "A &lt;b&gt;study&lt;/b&gt;" in text and "x <script>" not in text and "<by>" not in text
    assert [t for t, _ in page.tags].count("script") == 1


def test_every_part_can_be_found_and_heard(analysis: Analysis) -> None:
    page = Page()
    text = report.render(analysis)
    page.feed(text)
    tags = [t for t, _ in page.tags]
    assert tags.count("caption") == tags.count("table") and tags.count("figcaption") == tags.count("figure")
    drawn = [a for t, a in page.tags if t == "svg"]
    assert len(drawn) == 4 and all(a["role"] == "img" and a["aria-label"] for a in drawn)
    scrolling = [a for _, a in page.tags if a.get("class") == "wide"]
    assert scrolling and all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in scrolling)
    assert all(a.get("scope") in ("col", "row") for t, a in page.tags if t == "th")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for t, a in page.tags if t == "a"} <= {f"#{name}" for name in ids}
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text
    assert tags.count("select") == text.count("<label>") - 1  # every filter has a label, and so has the search
    levels = [int(t[1]) for t in tags if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1 and set(levels[1:]) == {2}


def luminance(colour: "np.ndarray[Any, Any]") -> float:
    """Relative luminance of an sRGB colour in 0..255. Source: WCAG 2.2, definition of relative luminance."""
    part = colour / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_what_it_stands_on(analysis: Analysis, scheme: int) -> None:
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3), on the strongest cell of a heatmap too."""
    root = re.findall(r":root \{([^}]*)\}", report.render(analysis))[scheme]
    values = dict(re.findall(r"--(\w+): ([^;]+)", root))

    def colour(name: str) -> "np.ndarray[Any, Any]":
        digits = values[name].removeprefix("#")
        digits = "".join(c * 2 for c in digits) if len(digits) == 3 else digits
        return np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)], float)

    def contrast(a: "np.ndarray[Any, Any]", b: "np.ndarray[Any, Any]") -> float:
        high, low = sorted((luminance(a), luminance(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    ground, heat = colour("ground"), np.array([float(x) for x in values["heat"].split(",")])
    hottest = 0.5 * heat + 0.5 * ground
    for name, under in (
        ("ink", ground),
        ("quiet", ground),
        ("mark", ground),
        ("ink", colour("panel")),
        ("ink", hottest),
    ):
        assert contrast(colour(name), under) >= 4.5, name


def test_exports_are_complete_and_readable(analysis: Analysis, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    files = {p.name: p for p in export.write(analysis, tmp_path)}
    assert len(pd.read_csv(files["results.csv"])) == len(pd.read_parquet(files["results.parquet"])) == 15
    statistics = json.loads(files["statistics.json"].read_text())
    assert len(statistics["systems"]) == 5 and {"anova", "mixed_model"} <= statistics["variance"][0].keys()
    assert [x["status"] for x in statistics["lost"]] == ["collapsed"]
    for name in ("udpos-vs-english", "udpos-vs-none", "udpos-cost", "variance"):
        root = ElementTree.fromstring(files[f"{name}.svg"].read_text())
        assert float(root.attrib["width"]) > 0 and float(root.attrib["height"]) > 0
        if export.letters_are_drawn():
            head = files[f"{name}.png"].read_bytes()[:24]
            assert head[:8] == b"\x89PNG\r\n\x1a\n"
            assert int.from_bytes(head[16:20], "big") == 2 * float(root.attrib["width"])
    table = files["table.tex"].read_text()
    assert table.count(r"\\") == 1 + 5 and r"$^\dagger$" in table
    assert export.tex("a_b & 5 %") == r"a\_b \& 5 \%"


def test_without_a_font_there_are_no_pictures_without_words(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "letters_are_drawn", lambda: False)
    assert {p.suffix for p in export.write(analysis, tmp_path)} == {".csv", ".parquet", ".json", ".tex", ".svg"}


def test_ticks_are_round_and_the_front_holds_what_nothing_beats() -> None:
    assert charts.ticks(0, 10) == pytest.approx([0, 2, 4, 6, 8, 10])
    assert charts.ticks(-0.35, 0.35) == pytest.approx([-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3], abs=1e-9)
    points = [("cheap", 1.0, 50.0), ("good", 5.0, 70.0), ("dear", 6.0, 60.0), ("same", 5.0, 69.0)]
    assert [p.name for p in charts.pareto([charts.Point(*p) for p in points])] == ["cheap", "good"]


def test_filled_marks_are_the_significant_ones(analysis: Analysis) -> None:
    found = figures.deltas(analysis, "udpos", "none")
    svg = figures.forest(analysis, "udpos", "none")
    assert svg.count('class="mark"') == sum(d.significant for d in found) > 0
    assert svg.count('class="hollow"') == sum(not d.significant for d in found) > 0
    assert [d.result.delta for d in found] == sorted((d.result.delta for d in found), reverse=True)


needs_browser = pytest.mark.skipif(
    browser.chromium() is None, reason="no Chromium found; ADAPTX_TEST_CHROMIUM names one"
)
SHOWN = "[...document.querySelectorAll('#runs tbody tr')].filter(r => !r.hidden)"


@pytest.fixture(scope="module")
def page(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(report.render(analysis), "utf-8")
    return file.as_uri()


@pytest.mark.browser
@needs_browser
def test_in_a_browser_a_filter_filters_the_table_sorts_and_nothing_complains(page: str, tmp_path: Path) -> None:
    async def look(tab: browser.Tab) -> None:
        async def scores() -> list[float]:
            found: list[float] = await tab.run(f"{SHOWN}.map(r => +r.cells[7].dataset.value)")
            return found

        async def status() -> str:
            return str(await tab.run("document.querySelector('#shown').textContent"))

        assert await status() == "15 of 15 rows"
        await tab.choose("select[data-column='0']", "sv")
        assert await tab.run(f"{SHOWN}.map(r => r.cells[0].textContent)") == ["sv"] * 6
        await tab.choose("#search", "qqp")
        assert await status() == "3 of 15 rows"
        await tab.choose("select[data-column='10']", "collapsed")
        assert await status() == "0 of 15 rows"
        await tab.click("#reset")
        assert await status() == "15 of 15 rows"
        for wanted, order in (("ascending", False), ("descending", True)):
            await tab.click("#runs th:nth-child(8) button")
            assert await scores() == sorted(await scores(), reverse=order)
            assert await tab.run("document.querySelector('#runs th:nth-child(8)').getAttribute('aria-sort')") == wanted
        await tab.run("document.querySelector('#runs th:nth-child(1) button').focus()")
        await tab.key("Enter", 13, "\r")
        assert await tab.run(f"{SHOWN}[0].cells[0].textContent") == "en"
        assert await tab.run("document.querySelectorAll('#runs th[aria-sort=none]').length") == 14
        await tab.click("#target-udpos details summary")
        assert await tab.run("document.querySelector('#target-udpos details').open") is True

    tab = browser.visit(page, tmp_path / "profile", look)
    assert tab.complaints == []
    assert all(r.startswith(("file:", "data:")) for r in tab.requests), tab.requests


@pytest.mark.browser
@needs_browser
def test_a_phone_shows_it_without_scrolling_the_page_sideways_and_the_dark_is_dark(page: str, tmp_path: Path) -> None:
    async def look(tab: browser.Tab) -> None:
        colour = "getComputedStyle(document.body).backgroundColor"
        await tab.screen(360, 740, phone=True)
        assert await tab.run("document.documentElement.scrollWidth") <= 360
        assert await tab.run("[...document.querySelectorAll('caption span')].every(s => s.offsetWidth <= 360)")
        assert await tab.run(colour) == "rgb(255, 255, 255)"
        await tab.screen(1100, 900, dark=True)
        assert await tab.run(colour) == "rgb(18, 23, 29)"

    assert browser.visit(page, tmp_path / "profile", look).complaints == []
