"""What the demo says and writes at its end, also when it ends before anything was counted; as a whole: integration."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest

from stream_app.contract.demo.headline import read_headline
from stream_app.sandbox.demo import DemoOptions, Run, _Demo
from stream_app.sandbox.demo_source import DemoSource
from stream_app.sandbox.page_child import PageChild
from stream_app.sandbox.worker_probe import WorkerProbe
from stream_app.settings import load_settings
from tests.unit.builders.stories import told_story


def with_demo(name: str, report: Path, use: Callable[[_Demo, list[str]], Awaitable[None]]) -> None:
    """Hands over a demo that was not started, and what it says."""

    async def run() -> None:
        said: list[str] = []
        source = DemoSource(name, 10, [], [], lambda _: nullcontext(), lambda _: "", lambda _: "")
        options = DemoOptions(seconds=None, events=None, rate=300, seed=1, report=report)
        demo = _Demo(
            Run(load_settings(), source, options, said.append),
            WorkerProbe("http://127.0.0.1:1"),
            [],
            lambda: "http://127.0.0.1:1",
            PageChild(report.parent, worker="http://127.0.0.1:1", brokers="127.0.0.1:1", simulated=not name),
        )
        await use(demo, said)
        await demo._tally.stop()

    asyncio.run(run())


@pytest.mark.parametrize(("name", "shop"), [("", "simulated"), ("log.csv", "log.csv")])
def test_the_last_line_and_the_report_name_the_shop(name: str, shop: str, tmp_path: Path) -> None:
    report = tmp_path / "report.html"

    async def use(demo: _Demo, said: list[str]) -> None:
        demo._story = told_story()
        summary = demo._summary()
        assert (summary.shop, summary.report) == (shop, str(report))
        assert summary.found_at_20["nextact"]["share"] == 0.4
        demo._write_report(summary)
        demo._say_figures(250.0)
        assert said[0] == f"wrote {report}"
        assert said[1].startswith("    250 predictions/s")
        assert said[2].startswith("    " + ("" if name else "simulated shop: ") + "of the last 150 next items")

    with_demo(name, report, use)
    assert ("simulated shop" in report.read_text()) == (not name)
    shown = read_headline(tmp_path / "headline.json")
    assert shown is not None
    assert (shown.targets, shown.simulated) == (150, not name)


def test_a_demo_that_ends_before_anything_was_counted_says_so(tmp_path: Path) -> None:
    async def use(demo: _Demo, said: list[str]) -> None:
        demo._write_report(demo._summary())
        assert asdict(demo._summary())["found_at_20"]["targets"] == 0
        demo._say_figures(0.0)
        assert len(said) == 2

    with_demo("", tmp_path / "report.html", use)
    assert "Nothing was counted yet" in (tmp_path / "report.html").read_text()
