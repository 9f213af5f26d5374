"""A headless Chromium driven through its DevTools protocol: open a page, click, look, and hear what it complains about.

Source: Chrome DevTools Protocol, domains Page, Runtime, Log, Input, Emulation. Needs `aiohttp` (a dependency of
`datasets`) for the web socket. Knows no page.
"""

import asyncio
import base64
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
SECONDS = 60


def chromium() -> str | None:
    """The path of a Chromium: ADAPTX_TEST_CHROMIUM, or the first that is installed."""
    return os.environ.get("ADAPTX_TEST_CHROMIUM") or next((p for p in map(shutil.which, NAMES) if p), None)


class Tab:
    """One open page. `complaints`: console messages, exceptions and log entries; `requests`: addresses asked for."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._session, self._number = socket, "", 0
        self.complaints: list[str] = []
        self.requests: list[str] = []

    async def send(self, method: str, **params: Any) -> Any:
        """The result of a protocol command; what happens meanwhile is noted."""
        self._number += 1
        wanted = self._number
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send_json({"id": wanted, "method": method, "params": params, **session})
        while True:
            answer = await self._socket.receive_json(timeout=SECONDS)
            name = answer.get("method", "")
            if name == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if name in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                self.complaints.append(str(answer["params"])[:500])
            if answer.get("id") == wanted:
                assert "error" not in answer, answer
                return answer["result"]

    async def attach(self) -> None:
        """Make a page and listen to it."""
        made = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.send(f"{domain}.enable")

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def open(self, url: str) -> None:
        """Load a page to its end."""
        await self.send("Page.navigate", url=url)
        for _ in range(10 * SECONDS):
            if await self.run("document.readyState === 'complete' && location.href !== 'about:blank'"):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{url} did not load")

    async def click(self, selector: str) -> None:
        """Press the left button in the middle of the first element that fits, scrolled into view."""
        place = await self.run(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    async def key(self, key: str, number: int, text: str = "") -> None:
        """Press a key on what has the focus; `number`: its Windows virtual key code."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            await self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number, **more
            )

    async def choose(self, selector: str, value: str) -> None:
        """Set a control's value as a user does: focus, value, events."""
        await self.run(
            f"(() => {{ const e = document.querySelector({selector!r}); e.focus(); e.value = {value!r};"
            " e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    async def screen(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """The size of the window, and whether it is dark or a phone's."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        answer = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


async def _visit(binary: str, url: str, profile: Path, visit: Callable[[Tab], Awaitable[None]]) -> Tab:
    import aiohttp

    process = await asyncio.create_subprocess_exec(
        binary, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0",
        f"--user-data-dir={profile}", "about:blank", stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr
        line = ""
        while "DevTools listening on" not in line:
            line = (await asyncio.wait_for(process.stderr.readline(), SECONDS)).decode()
            assert line, "the browser did not start"
        address = line.split("listening on")[1].strip()
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            tab = Tab(socket)
            await tab.attach()
            await tab.open(url)
            await visit(tab)
            return tab
    finally:
        process.kill()
        await process.wait()


def visit(url: str, profile: Path, what: Callable[[Tab], Awaitable[None]]) -> Tab:
    """Open `url` in a browser of its own, do `what`, and give the tab back for its complaints and requests."""
    binary = chromium()
    assert binary is not None
    return asyncio.run(_visit(binary, url, profile, what))
