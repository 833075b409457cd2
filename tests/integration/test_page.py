"""`nextact page` in a browser: Debian's Chromium, beside something that answers as a worker does."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp

from stream_app.sandbox.processes import ChildProcess
from tests.chromium import Tab, chromium, needs_chromium
from tests.unit.builders.pretend_worker import PretendWorker, answer, metrics, pretend_worker

V1, V2 = "20261130T010000.000000Z", "20261130T020000.000000Z"

Browsing = Callable[[list[Tab], PretendWorker, str], Awaitable[None]]


@asynccontextmanager
async def page_beside(worker: PretendWorker, folder: Path) -> AsyncIterator[str]:
    """A page as a process of its own; gives its address."""
    log = folder / "page.log"
    command = [sys.executable, "-P", "-m", "stream_app", "page", "--port", "0", "--worker", worker.url]
    page = ChildProcess.start(command, name="page", log_path=log)
    try:
        async with asyncio.timeout(30):
            while not (found := re.findall(r"the page is at (http://\S+)\n", log.read_text())):
                assert page.poll() is None, log.read_text()
                await asyncio.sleep(0.05)
        yield found[0]
        assert log.read_text().strip() == f"the page is at {found[0]}"  # and nothing is amiss
        assert page.stop() == 0
    finally:
        page.kill()


def browse(folder: Path, visit: Browsing, *, tabs: int = 1) -> None:
    """Starts a page beside a pretended worker, and a browser."""

    async def go() -> None:
        async with (
            pretend_worker(metrics=metrics(events=100)) as worker,
            page_beside(worker, folder) as url,
            chromium(tabs) as opened,
        ):
            await visit(opened, worker, url)
            assert [tab.complaints for tab in opened] == [[]] * tabs

    asyncio.run(go())


@needs_chromium
def test_the_live_view_marks_versions_and_says_what_is_wrong(tmp_path: Path) -> None:
    async def visit(tabs: list[Tab], worker: PretendWorker, url: str) -> None:
        (tab,) = tabs
        await tab.open(url)
        await tab.wait_text("Every action answered, as it happens")
        await tab.wait_text("No version serves yet")
        worker.metrics = metrics(events=1100, rules=(60, 100), version=V1, created=1)
        await tab.wait_text("↑ promoted")
        await tab.wait_text("60.0 %", 12)
        worker.metrics = metrics(events=2100, rules=(130, 200), model=(80, 100), version=V2, created=2)
        await tab.wait_text(V2)
        worker.metrics = metrics(events=3100, rules=(130, 200), model=(80, 100), version=V1, created=1)
        await tab.wait_text("↺ rolled back")
        port = int(worker.url.rsplit(":", 1)[1])
        await worker.stop()
        await tab.wait_text("does not answer: connection refused, since ")
        await tab.wait_text("nextact worker starts one")
        await worker.start(port)
        await tab.wait_for("!document.body.innerText.includes('does not answer')")
        await tab.wait_text("ready")
        assert all("//127.0.0.1:" in request for request in tab.requests), tab.requests

    browse(tmp_path, visit)


@needs_chromium
def test_a_shopper_is_found_by_keyboard_and_followed_in_every_browser(tmp_path: Path) -> None:
    async def visit(tabs: list[Tab], worker: PretendWorker, url: str) -> None:
        worker.users["ada & co/1"] = answer("ada & co/1", actions=3)
        first, second = tabs
        await first.open(url + "shopper")
        await first.wait_text("Watch a shopper being understood")
        await first.wait_for("document.getElementById('user')")
        await first.evaluate("document.getElementById('user').focus()")
        await first.call("Input.insertText", text="ada & co/1")
        await first.press("Enter")
        worker.active = ["ada & co/1"]
        await second.open(url + "shopper/active")
        for tab in tabs:
            await tab.wait_text("Road runner 7")
            assert await tab.evaluate("document.querySelector('h1').innerText") == "ada & co/1"
        worker.users["ada & co/1"] = answer("ada & co/1", actions=4)
        for tab in tabs:
            await tab.wait_for("document.querySelector('.steps li.new .item')?.innerText == 'item-4'", 2)
        assert await first.evaluate("document.querySelector('[role=log]').innerText") == "viewed item-4"
        worker.refusal = (503, "rebalancing", "the partitions are on their way")
        await first.wait_text("the partitions are on their way, since ")
        assert "Road runner 7" in await first.text()  # what was known stays
        worker.refusal = None
        await first.wait_for("!document.body.innerText.includes('on their way')")
        del worker.users["ada & co/1"]
        await first.wait_text("Nobody is known as “ada & co/1”")
        await second.open("about:blank")
        await first.open("about:blank")
        await asyncio.sleep(4)  # until NiceGUI gives up waiting for them
        worker.asked.clear()
        await asyncio.sleep(1)
        assert not [path for path in worker.asked if "users" in path]

    browse(tmp_path, visit, tabs=2)


def test_another_sites_name_is_turned_away(tmp_path: Path) -> None:
    """A name of theirs that leads to this machine: without a check their page could read ours."""

    async def ask() -> list[int]:
        statuses = []
        async with pretend_worker() as worker, page_beside(worker, tmp_path) as url, aiohttp.ClientSession() as session:
            for host in ("localhost:1", "evil.example"):
                async with session.get(url, headers={"Host": host}) as response:
                    statuses.append(response.status)
        return statuses

    assert asyncio.run(ask()) == [200, 400]


@needs_chromium
def test_no_view_has_a_serious_fault_for_anybody(tmp_path: Path) -> None:
    """axe-core's rules, contrast among them: in light, dark and narrow, with and without troubles."""
    spec = find_spec("axe_core_python")
    assert spec is not None
    assert spec.origin is not None
    script = Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")

    async def check(tab: Tab) -> None:
        await tab.evaluate(f"{script};0")
        for dark, width in ((False, 1280), (True, 1280), (False, 390), (True, 390)):
            await tab.look(width, 844, dark=dark, phone=width < 400)
            assert await tab.evaluate(_SERIOUS) == []
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width

    async def visit(tabs: list[Tab], worker: PretendWorker, url: str) -> None:
        (tab,) = tabs
        worker.users["ada"] = full_answer("ada")
        await tab.open(url)
        worker.metrics = metrics(events=1100, rules=(60, 100), model=(80, 100), version=V1, created=1)
        await tab.wait_text("promoted")
        await check(tab)
        await tab.open(url + "shopper?user=ada")
        await tab.wait_text("What the rules would have said")
        worker.users["ada"] = full_answer("ada", actions=3)
        await tab.wait_for("document.querySelector('.steps li.new')")
        await check(tab)
        await worker.stop()
        await tab.wait_text("does not answer")
        await check(tab)

    browse(tmp_path, visit)


_SERIOUS = """axe.run().then(found => found.violations
    .filter(fault => ["serious", "critical"].includes(fault.impact))
    .map(fault => fault.id + ": " + fault.nodes.map(node => node.html + " " + node.failureSummary).join()))"""


def full_answer(user: str, actions: int = 2) -> dict[str, Any]:
    """An answer with all that can be said of a user."""
    said = answer(
        user,
        actions=actions,
        preferences={
            "categories": [{"name": "Shoes > Running", "share": 0.4}],
            "brands": [{"name": "Roadster", "share": 0.3}],
            "price_band": {"low": 10, "currency": "EUR"},
        },
        segment={"id": 1, "name": "Runners", "fit": 0.9},
        leave_probability=0.1,
        return_probability=0.7,
        reasons=[{"item_id": "shoe-7", "because": [{"code": "popular_now", "weight": 0.5}]}],
    )
    return said | {"rules": ["shoe-7", "sock-1"]}
