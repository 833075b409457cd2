"""Debian's Chromium, driven through the DevTools protocol: opens pages, evaluates expressions, takes pictures."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from stream_app.sandbox.processes import ChildProcess
from tests.skips import not_installed

_PROGRAM: Final = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium: Final = pytest.mark.skipif(_PROGRAM is None, reason=not_installed("chromium (Debian package)"))
_START_S: Final = 30.0
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
    # Nothing but this machine can be reached: whatever a page wants from the internet fails, and is noted.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Tab:
    """A page in the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())
        self.requests: list[str] = []  # addresses that it has asked for
        self.complaints: list[str] = []  # errors in its console

    async def _read(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
            elif said["method"] == "Network.requestWillBeSent":
                self.requests.append(said["params"]["request"]["url"])
            elif said["method"] == "Runtime.exceptionThrown":
                details = said["params"]["exceptionDetails"]
                self.complaints.append(details.get("exception", {}).get("description", details["text"]))
            elif said["method"] == "Runtime.consoleAPICalled" and said["params"]["type"] == "error":
                self.complaints.append(str(said["params"]["args"]))

    async def call(self, method: str, **params: Any) -> Any:
        """Calls a method of the DevTools protocol."""
        number = next(self._numbers)
        self._waiting[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        said = await asyncio.wait_for(answer, 30)
        assert "error" not in said, said
        return said["result"]

    async def open(self, url: str) -> None:
        """Goes to an address."""
        await self.call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        """Returns an expression's value; a promise's is awaited."""
        said = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def text(self) -> str:
        """Returns the text that is seen."""
        return str(await self.evaluate("document.body ? document.body.innerText : ''"))

    async def wait_for(self, condition: str, seconds: float = 10.0) -> None:
        """Returns when an expression is true; fails with the page's text when it is not within so many seconds."""
        poll = (
            f"new Promise((done) => {{ const end = performance.now() + {1000 * seconds}; const look = () => "
            f"{{ if ({condition}) done(true); else if (performance.now() > end) done(false); "
            "else setTimeout(look, 30); }; look(); })"
        )
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                held = await asyncio.wait_for(self.evaluate(poll), seconds + 5)
            except AssertionError:  # the page was left meanwhile
                held = False
            if held:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not within {seconds} s: {condition}\n{await self.text()}")
            await asyncio.sleep(0.05)

    async def wait_text(self, text: str, seconds: float = 10.0) -> None:
        """Returns when the page shows a text."""
        await self.wait_for(f"document.body && document.body.innerText.includes({text!r})", seconds)

    async def press(self, key: str) -> None:
        """Presses a key."""
        codes = {"Tab": 9, "Enter": 13}
        extra = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **extra
            )

    async def look(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Sets the window's size, and whether the reader wants it dark; nothing moves from then on."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self, path: Path) -> None:
        """Writes a picture of the whole page."""
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))  # noqa: ASYNC240 - a test's

    async def close(self) -> None:
        """Stops listening to it."""
        await self._socket.close()
        await self._reading


@asynccontextmanager
async def chromium(tabs: int = 1) -> AsyncIterator[list[Tab]]:
    """Starts a browser with so many tabs, and ends it."""
    assert _PROGRAM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [_PROGRAM, *_FLAGS, f"--user-data-dir={folder}/profile", "about:blank"]
        browser = ChildProcess.start(command, name="chromium", log_path=Path(folder, "log"), grace_s=1)
        try:
            address = await _address(Path(folder, "profile", "DevToolsActivePort"))
            async with aiohttp.ClientSession() as session:
                opened = [await _new_tab(session, address) for _ in range(tabs)]
                try:
                    yield opened
                finally:
                    for tab in opened:
                        await tab.close()
        finally:
            browser.stop(3)


async def _address(port_file: Path) -> str:
    async with asyncio.timeout(_START_S):
        while not (port_file.exists() and "\n" in port_file.read_text()):  # noqa: ASYNC110, ASYNC240 - another process
            await asyncio.sleep(0.05)
    return f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"  # noqa: ASYNC240


async def _new_tab(session: aiohttp.ClientSession, address: str) -> Tab:
    async with session.put(f"{address}/json/new?about:blank") as response:
        about = await response.json()
    tab = Tab(await session.ws_connect(about["webSocketDebuggerUrl"], max_msg_size=0))
    for domain in ("Page", "Runtime", "Network"):
        await tab.call(f"{domain}.enable")
    return tab
