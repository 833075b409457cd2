"""The commands around audiences, but for Kafka, with which tests/integration has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from model.profile.audiences import Audience, Audiences
from stream_app.cli.main import cli
from stream_app.errors import UsageError
from stream_app.settings import Settings
from stream_app.signals import admin

RUNNER = CliRunner()
CARTS, KEEN = Audience(cart_open=True), Audience(cart_open=False)


def run(*arguments: str | Path) -> Any:
    return RUNNER.invoke(cli, ["audiences", *map(str, arguments)], catch_exceptions=False)


def test_a_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "audiences.toml"
    path.write_text("[carts]\ncart_open = true\n[visitors]\nvisits = { at_least = 2 }\n")
    done = run("check", path)
    assert (done.exit_code, done.output) == (0, "2 audiences, nothing is wrong with them: carts, visitors\n")
    path.write_text("[carts]\n[B]\ncart_open = true\n")
    done = run("check", path)
    assert done.exit_code == 1
    assert [line.removeprefix(f"{path}: ").partition(":")[0] for line in done.stderr.splitlines()] == ["carts", "B"]
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        run("check", path)


def test_what_is_published_says_what_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def replace(_: Settings, audiences: Audiences) -> Audiences:
        assert audiences == {"carts": CARTS, "same": CARTS, "new": CARTS}
        return {"carts": KEEN, "same": CARTS, "old": CARTS}

    monkeypatch.setattr(admin, "replace_audiences", replace)
    path = tmp_path / "audiences.toml"
    path.write_text("".join(f"[{name}]\ncart_open = true\n" for name in ("carts", "same", "new")))
    done = run("publish", path)
    assert done.stdout == "carts: has changed\nnew: is new\nold: is no more; nobody is told to have left it\n"
    path.write_text("[carts]\n")
    assert run("publish", path).exit_code == 1


def test_where_no_signals_are_told_that_is_said() -> None:
    with pytest.raises(UsageError, match="NEXTACT_SIGNALS_TOPIC"):
        run("list")
