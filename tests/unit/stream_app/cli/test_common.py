"""What commands share: options that are settings, options as one object, ends on signals, imports without garbage."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stream_app.cli.common import LineFormatter, grouped, importing, setting, settings_of, stoppable


@dataclass(frozen=True)
class Size:
    height: int
    width: int


def test_options_that_belong_together_are_one_object() -> None:
    @click.command()
    @click.option("--height", type=int)
    @click.option("--width", type=int, default=2)
    @click.option("--colour")
    @grouped("size", Size)
    def paint(size: Size, colour: str) -> None:
        """Paint something."""
        click.echo(f"{size} {colour}")

    done = CliRunner().invoke(paint, ["--height", "1", "--colour", "red"])
    assert done.stdout == "Size(height=1, width=2) red\n"
    assert paint.help == "Paint something."


def test_an_option_is_called_like_its_setting_and_says_its_variable_and_default() -> None:
    @click.command()
    @setting("http_port")
    @setting("brokers")
    def serve(http_port: int | None, brokers: str | None) -> None:
        click.echo(f"{http_port!r} {brokers!r}")

    assert CliRunner().invoke(serve, ["--http-port", "8000"]).stdout == "8000 None\n"
    assert CliRunner().invoke(serve, ["--http-port", "many"]).exit_code == 2
    shown = " ".join(CliRunner().invoke(serve, ["--help"]).stdout.split())
    assert "[NEXTACT_BROKERS; default: " in shown
    assert "[NEXTACT_HTTP_PORT; default: " in shown


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_work_to_stop_and_its_result_is_returned(signum: signal.Signals) -> None:
    async def work(stop: asyncio.Event) -> str:
        os.kill(os.getpid(), signum)
        await asyncio.wait_for(stop.wait(), 10)
        return "stopped in order"

    assert stoppable(work) == "stopped in order"


@pytest.mark.parametrize("fails", [False, True])
def test_collections_come_back_and_leave_alone_what_was_imported(fails: bool) -> None:
    frozen = gc.get_freeze_count()
    try:
        if fails:
            with pytest.raises(ImportError), importing():
                raise ImportError("no such module")
        else:
            with importing():
                assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()


def test_a_log_line_and_its_traceback_hide_secrets_also_those_of_others() -> None:
    lines = LineFormatter({"hunter2"})
    try:
        raise OSError("GET https://host/x?sig=abcdef hunter2 is wrong")
    except OSError:
        record = logging.LogRecord("other", logging.ERROR, "f", 1, "%s said %s", ("s3", "hunter2"), sys.exc_info())
    text = lines.format(record)
    assert "s3 said ***" in text
    assert "GET https://host/x?sig=*** *** is wrong" in text
    assert "hunter2" not in text


def test_the_folder_for_what_is_compiled_is_told_to_the_compilers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "elsewhere")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    settings_of({})
    assert os.environ["NUMBA_CACHE_DIR"] == "elsewhere"
    monkeypatch.chdir(tmp_path)
    settings_of({"cache_dir": "compiled"})
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "compiled" / "numba")
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "compiled" / "triton")
