"""The commands around a catalogue, but for Kafka, with which tests/integration has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_app.cli.main import cli
from stream_app.errors import InputUnreadable, SettingsInvalid


def test_every_command_says_what_it_does() -> None:
    for command in ("send", "show", "list", "check"):
        done = CliRunner().invoke(cli, ["items", command, "--help"], catch_exceptions=False)
        assert done.exit_code == 0
        assert "--brokers" in done.stdout


def test_a_mistake_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sku\n7\n")
    with pytest.raises(SettingsInvalid, match="no item field is called 'sku'"):
        CliRunner().invoke(cli, ["items", "send", str(path), "--column", "sku=item_id"], catch_exceptions=False)
    with pytest.raises(InputUnreadable, match=r"nowhere\.csv cannot be opened"):
        CliRunner().invoke(cli, ["items", "check", "-e", str(tmp_path / "nowhere.csv")], catch_exceptions=False)
