"""A child that ends is started again, and one that runs ends with whoever started it."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import psutil
import pytest

from stream_app.settings import load_settings
from stream_app.statistics import child as module
from stream_app.statistics.child import StatisticsChild, keep_counting

ENDS = (
    "import os, sys; print(os.environ['NEXTACT_GROUP'], os.environ['NEXTACT_HTTP_PORT'], file=open(sys.argv[1], 'a'))"
)
STAYS = "import os, sys; print(os.getpid(), file=open(sys.argv[1], 'a'), flush=True); sys.stdin.read()"


def child(program: str, file: Path) -> StatisticsChild:
    settings = load_settings({"group": "mine"})
    return StatisticsChild(settings, (sys.executable, "-c", program, str(file)), first_pause=0.01)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def until_lines(file: Path, count: int) -> list[str]:
    async with asyncio.timeout(20):
        while len(found := lines(file)) < count:  # noqa: ASYNC110 - a file says it
            await asyncio.sleep(0.01)
    return found


def test_it_is_started_again_with_the_parents_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        running = asyncio.create_task(child(ENDS, tmp_path / "said").run())
        assert set(await until_lines(tmp_path / "said", 3)) == {"mine 9600"}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert "ended with 0 and is started again in 0.01 s" in caplog.text
    assert "started again in 0.02 s" in caplog.text


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    async def run() -> None:
        running = asyncio.create_task(child(STAYS, tmp_path / "said").run())
        (pid,) = await until_lines(tmp_path / "said", 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not psutil.pid_exists(int(pid))

    asyncio.run(run())


@pytest.mark.parametrize("off", ["statistics", "statistics_writer"])
def test_nobody_counts_where_that_is_off_and_nothing_ends(off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        running = asyncio.create_task(keep_counting(load_settings({off: False})))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not running.done(), "else a trainer would take it for its end"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    monkeypatch.setattr(module, "StatisticsChild", None)
    asyncio.run(run())
