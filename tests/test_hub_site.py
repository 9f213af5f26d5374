"""The catalogue page: one file without outside references, safe against what entries say, usable in a browser."""

import asyncio
import html.parser
import json
import os
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import hub_toy
from adaptx import atomic, hub
from adaptx.config import Settings
from adaptx.hub import page as pages
from adaptx.recipe import DataRef
from adaptx.refs import Ref

LANGUAGES = {"sv": "Swedish", "de": "German", "et": "Estonian"}
NASTY = "</script><script>alert(1)</script><!-- \u2028"


@pytest.fixture
def page(settings: Settings, tmp_path: Path) -> Path:
    """The catalogue of a hub with three adapters, one of which has a name that bites."""
    place = str(tmp_path / "hub")
    nc = DataRef(task="anli", split="train", source="hub", id="o/s", revision="a" * 40, licence="CC-BY-NC-4.0", rows=1)
    licence = nc.model_copy(update={"licence": NASTY})
    for stored in (
        hub_toy.small(settings, "sv", data=(nc,)),
        hub_toy.small(settings, "de", method="lora", data=(licence,)),
        hub_toy.small(settings, "et", task="mnli", seed=4),
    ):
        hub.push(settings, stored, place)
    path, versions = hub.site(place, tmp_path / "site", settings.cache, LANGUAGES)
    assert path == tmp_path / "site" / "index.html" and versions == 3
    return path


def embedded(text: str) -> Any:
    found = re.search(r"const data = (.*);\n", text)
    assert found
    return json.loads(found[1])


class Reader(html.parser.HTMLParser):
    """Counts elements and collects what refers elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [v or "" for k, v in attrs if k in ("src", "href") and not (v or "").startswith("data:")]


def test_the_page_is_one_file_that_refers_to_nothing_else(page: Path, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.outside == [] and [p.name for p in page.parent.iterdir()] == ["index.html"]
    assert "http" not in re.sub(r"http-equiv", "", text) and "@import" not in text and "url(" not in text
    assert str(tmp_path) not in text, "no path of this machine"


def test_what_entries_say_cannot_leave_the_data(page: Path) -> None:
    text = page.read_text("utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.tags.count("script") == 1 and "alert(1)</script>" not in text
    value = embedded(text)
    assert NASTY in [r["licence"] for r in value["rows"]]
    assert "innerHTML" not in text and "document.write" not in text


def test_the_data_is_the_listing(page: Path, settings: Settings, tmp_path: Path) -> None:
    value = embedded(page.read_text("utf-8"))
    rows = hub.listing(str(tmp_path / "hub"), settings.cache)
    assert [{k: r[k] for k in rows[0]} for r in value["rows"]] == rows
    assert value["languages"] == LANGUAGES and value["rows"][0]["own"] == {
        "split": "test",
        "metric": "accuracy",
        "value": 0.5,
    }


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert json.loads(pages.embedded({"a": [float("nan"), 1.5, (float("inf"),)]})) == {"a": [None, 1.5, [None]]}
    assert "<" not in pages.embedded("<!--<script>") and json.loads(pages.embedded("<a>&\u2028")) == "<a>&\u2028"


def test_the_script_is_javascript(page: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to read the script with")
    script = page.read_text("utf-8").split("<script>")[1].split("</script>")[0]
    (tmp_path / "page.js").write_text(script)
    done = subprocess.run([node, "--check", str(tmp_path / "page.js")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def chromium() -> str:
    """The path of a Chromium. Skips without one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
    found = os.environ.get("ADAPTX_TEST_CHROMIUM") or next((p for p in map(shutil.which, names) if p), None)
    if not found:
        pytest.skip("no Chromium found; ADAPTX_TEST_CHROMIUM names one")
    return found


Browse = Callable[["Tab"], Awaitable[None]]


class Tab:
    """One page in a browser, driven through the DevTools protocol."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.session, self.number = socket, "", 0
        self.requests: list[str] = []
        self.errors: list[str] = []

    async def send(self, method: str, **params: Any) -> Any:
        self.number += 1
        wanted = self.number
        message = {"id": wanted, "method": method, "params": params}
        await self.socket.send_json({**message, **({"sessionId": self.session} if self.session else {})})
        while True:
            answer = await self.socket.receive_json(timeout=30)
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(answer["params"])[:500])
            if answer.get("id") == wanted:
                assert "error" not in answer, answer
                return answer["result"]

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def key(self, key: str, code: str = "", text: str = "", number: int = 0) -> None:
        fields = {"key": key, "code": code or key, "windowsVirtualKeyCode": number}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **fields, **({"text": text} if text else {}))
        await self.send("Input.dispatchKeyEvent", type="keyUp", **fields)

    async def type(self, text: str) -> None:
        for letter in text:
            await self.key(letter, f"Key{letter.upper()}", letter, ord(letter.upper()))

    async def rows(self) -> list[str]:
        script = "[...document.querySelectorAll('#body tr[data-ref]')].map(r => r.dataset.ref.split(':')[0])"
        found: list[str] = await self.run(script)
        return found


async def browse(binary: str, url: str, profile: Path, visit: Browse) -> None:
    import aiohttp

    process = await asyncio.create_subprocess_exec(
        binary, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}",
        "about:blank", stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr
        line = ""
        while "DevTools listening on" not in line:
            line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
            assert line, "the browser did not start"
        address = line.split("listening on")[1].strip()
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            tab = Tab(socket)
            target = await tab.send("Target.createTarget", url="about:blank")
            attached = await tab.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            tab.session = attached["sessionId"]
            for domain in ("Page", "Network", "Runtime", "Log"):
                await tab.send(f"{domain}.enable")
            await tab.send("Page.navigate", url=url)
            for _ in range(100):
                if await tab.run("document.readyState === 'complete' && Boolean(document.querySelector('#count'))"):
                    break
                await asyncio.sleep(0.1)
            await visit(tab)
            assert all(r.startswith(("file:", "data:")) for r in tab.requests), tab.requests
            assert tab.errors == []
    finally:
        process.kill()
        await process.wait()


def visit_in_browser(page: Path, tmp_path: Path, visit: Browse, fragment: str = "") -> None:
    asyncio.run(browse(chromium(), page.as_uri() + fragment, tmp_path / "profile", visit))


@pytest.mark.browser
def test_a_reader_searches_filters_and_sorts_with_the_keyboard_alone(page: Path, tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        assert await tab.rows() == ["et/mnli", "de/anli", "sv/anli"], "newest first"
        await tab.key("/", "Slash", "/", 191)
        assert await tab.run("document.activeElement.id") == "q"
        await tab.type("swedish")
        assert await tab.rows() == ["sv/anli"]
        assert await tab.run("document.getElementById('count').textContent") == "1 of 3 versions"
        await tab.run("document.querySelector('button[type=reset]').focus()")
        await tab.key("Enter", "Enter", "\r", 13)
        await asyncio.sleep(0.2)
        assert len(await tab.rows()) == 3
        await tab.run("document.querySelector('th[data-id=lang] button').focus()")
        await tab.key("Enter", "Enter", "\r", 13)
        assert await tab.rows() == ["de/anli", "et/mnli", "sv/anli"]
        assert await tab.run("document.querySelector('th[data-id=lang]').getAttribute('aria-sort')") == "ascending"
        await tab.key("Enter", "Enter", "\r", 13)
        assert await tab.rows() == ["sv/anli", "et/mnli", "de/anli"]
        await tab.run(
            "const t = document.getElementById('task'); t.value = 'mnli'; t.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        assert await tab.rows() == ["et/mnli"]
        assert "task=mnli" in await tab.run("location.hash")
        assert await tab.run("document.title") and await tab.run("typeof alert") == "function"

    visit_in_browser(page, tmp_path, visit)


@pytest.mark.browser
def test_a_link_brings_back_what_was_chosen(page: Path, tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        assert await tab.rows() == ["sv/anli", "de/anli"]
        assert await tab.run("document.getElementById('task').value") == "anli"

    visit_in_browser(page, tmp_path, visit, "#task=anli&sort=-lang")


@pytest.mark.browser
def test_a_row_opens_with_what_it_takes_to_get_it_and_older_versions_wait(
    page: Path, settings: Settings, tmp_path: Path
) -> None:
    place = str(tmp_path / "hub")
    old = hub.info(place, Ref("et", "mnli"), settings.cache)["version"]
    hub.push(settings, hub_toy.small(settings, "et", task="mnli", seed=4, noise=1), place)
    hub.site(place, page, settings.cache, LANGUAGES)

    async def visit(tab: Tab) -> None:
        assert await tab.rows() == ["et/mnli", "de/anli", "sv/anli"]
        assert await tab.run("document.getElementById('count').textContent") == "3 of 4 versions (1 older one hidden)"
        await tab.run("document.getElementById('older').click()")
        assert await tab.rows() == ["et/mnli", "et/mnli", "de/anli", "sv/anli"]
        assert await tab.run("[...document.querySelectorAll('#body tr.more')].length") == 0
        for row in (0, 1):
            await tab.run(f"document.querySelectorAll('button.open')[{row}].focus()")
            await tab.key("Enter", "Enter", "\r", 13)
        shown = await tab.run("[...document.querySelectorAll('#body tr.more code')].map(c => c.textContent)")
        assert [f"--revision {old}" in s for s in shown] == [False, True]
        assert all(s.startswith("adaptx hub pull et/mnli:pfeiffer@") and "--hub HUB" in s for s in shown)
        assert await tab.run("document.activeElement.getAttribute('aria-expanded')") == "true"
        await tab.key("Enter", "Enter", "\r", 13)
        assert await tab.run("document.querySelectorAll('#body tr.more').length") == 1

    visit_in_browser(page, tmp_path, visit)


@pytest.mark.browser
def test_zero_shot_scores_stand_on_one_scale_and_the_best_stands_out(settings: Settings, tmp_path: Path) -> None:
    place = str(tmp_path / "hub")
    for lang, value in (("sv", 0.8), ("et", 0.7), ("de", None)):
        stored = hub_toy.small(settings, lang)
        hub.push(settings, stored, place)
        if value:
            raw = {
                "key": {"stack": [stored.manifest.run], "lang": "qaa", "task": "toypos"},
                "system": "en/toypos",
                "n": 9,
            }
            numbers = {"metrics": {"f1": value}, "intervals": {"f1": [value - 0.1, value + 0.1]}}
            atomic.write_json(settings.store / "scores" / "bert" / "qaa" / "toypos" / f"{lang}.json", raw | numbers)
            hub.push(settings, stored, place)
    path, _ = hub.site(place, tmp_path / "site", settings.cache, LANGUAGES)

    async def visit(tab: Tab) -> None:
        await tab.run("document.querySelector('th[data-id=zero] button').click()")
        assert await tab.rows() == ["sv/anli", "et/anli", "de/anli"], "best first, without a score last"
        assert await tab.run("document.querySelector('th[data-id=zero] small').textContent") == "qaa/toypos f1"
        marks = await tab.run(
            "[...document.querySelectorAll('.track')].map(t => [...t.children].map(c => Math.round(parseFloat(c.style.left))))"
        )
        assert marks == [[33, 67], [0, 33]], "of the range 60 to 90: intervals from 70 and 60, scores 80 and 70"
        assert await tab.run("[...document.querySelectorAll('.best')].map(b => b.textContent)") == ["80.0"]

    visit_in_browser(path, tmp_path, visit)


@pytest.mark.browser
def test_the_page_fits_a_phone_and_turns_dark_with_it(page: Path, tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        await tab.send("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
        assert await tab.run("document.documentElement.scrollWidth") <= 360
        assert await tab.run("getComputedStyle(document.querySelector('#body tr')).display") == "block"
        light = await tab.run("getComputedStyle(document.body).backgroundColor")
        await tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        dark = await tab.run("getComputedStyle(document.body).backgroundColor")
        assert light == "rgb(255, 255, 255)" and dark != light

    visit_in_browser(page, tmp_path, visit)


@pytest.mark.browser
def test_every_control_has_a_name_for_those_who_do_not_see_it(page: Path, tmp_path: Path) -> None:
    async def visit(tab: Tab) -> None:
        tree = await tab.send("Accessibility.getFullAXTree")
        controls = [
            n for n in tree["nodes"]
            if n.get("role", {}).get("value") in ("button", "searchbox", "combobox", "textbox") and not n.get("ignored")
        ]  # fmt: skip
        assert len(controls) > 10 and all(n.get("name", {}).get("value") for n in controls)

    visit_in_browser(page, tmp_path, visit)
