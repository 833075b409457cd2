"""`nextact page`: a user's mistakes are a line, and nothing is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from model.errors import NextactError
from stream_app.cli import page as command
from stream_app.cli.main import cli


def refused(*options: str) -> str:
    result = CliRunner().invoke(cli, ["page", *options], standalone_mode=False)
    assert isinstance(result.exception, NextactError), result.exception
    return str(result.exception)


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert refused() == 'the page needs the extra "page": pip install "nextact[page]"'


def test_a_strange_address_is_named() -> None:
    assert refused("--worker", "localhost:9680").startswith("--worker localhost:9680 is not the address of an API")


def test_a_token_file_has_a_token(tmp_path: Path) -> None:
    assert "cannot be read" in refused("--token-file", str(tmp_path / "none"))
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "is empty" in refused("--token-file", str(empty))
    (tmp_path / "two").write_text(" first second\n")
    assert command._token(tmp_path / "two") == "first"
