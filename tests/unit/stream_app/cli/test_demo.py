"""The demo's options: what goes together, and what is said of a file before anything starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_app.cli.demo import DemoFiles, _source, demo
from stream_app.errors import InputUnreadable, UsageError
from stream_app.settings import load_settings

READING = {
    "columns": (),
    "types": (),
    "constant_type": None,
    "timezone": "UTC",
    "time_unit": "auto",
    "file_format": "auto",
    "baskets": False,
}


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "log.csv"
    rows = [f"u{n % 7},view,i{n % 30},{1_700_000_000 + n}" for n in range(200)]
    path.write_text("user_id,type,item_id,timestamp\n" + "\n".join(rows) + "\n")
    return str(path)


def test_a_log_is_learned_from_and_then_replayed(log: str) -> None:
    source = _source(DemoFiles(log, None, None, ()), READING, None, 1)
    assert (source.name, source.simulated, source.waits) == ("log.csv", False, True)
    assert (source.past, len(list(source.records)), len(list(source.live))) == (140, 140, 60)
    assert source.title_of("i1") == source.category_of("i1") == ""

    async def feed() -> None:
        async with source.feed(load_settings()):
            pass  # without items nothing is published

    asyncio.run(feed())
    assert _source(DemoFiles(log, None, None, ()), READING, 30, 1).past == 30
    with pytest.raises(UsageError, match="has 200 events, so none would be left"):
        _source(DemoFiles(log, None, None, ()), READING, 200, 1)


def test_without_a_log_the_shop_is_simulated() -> None:
    source = _source(DemoFiles(None, None, None, ()), READING, None, 1)
    assert (source.name, source.simulated, source.waits, source.past) == ("", True, False, 20_000)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rival", "x.csv"], "--rival goes with --log"),
        (["--items", "x.csv"], "--items goes with --log"),
        (["--column", "item_id=sku"], "--column goes with --log"),
        (["--baskets"], "--baskets goes with --log"),
        (["--log", "x.csv", "--report", "/nowhere/at/all.html"], "there is no folder /nowhere/at"),
    ],
)
def test_options_that_do_not_go_together_are_named(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(demo, arguments)
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)


def test_a_log_that_is_not_there_is_said_before_anything_starts() -> None:
    result = CliRunner().invoke(demo, ["--log", "/nowhere/log.csv"])
    assert isinstance(result.exception, InputUnreadable)
    assert "/nowhere/log.csv cannot be opened" in str(result.exception)
