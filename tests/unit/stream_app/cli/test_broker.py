"""`nextact broker` as far as it goes without starting one; `tests/integration/test_secure.py` starts a secured one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from model.errors import NextactError
from stream_app.cli.broker import broker, guide
from stream_app.contract.access import ROLES
from stream_app.sandbox.layout import Layout, Node
from stream_app.sandbox.ports import free_port
from tests.unit.builders.commands import check_command


def refusal(folder: Path, *options: str) -> str:
    """What the command refuses with; nothing is started."""
    result = CliRunner().invoke(broker, ["--data-dir", str(folder), "--port", "0", *options])
    assert isinstance(result.exception, NextactError), result.output
    assert getattr(result.exception, "exit_code", 1) == 2
    assert not list(folder.glob("node-*"))
    return str(result.exception)


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "'3.7': give one in full" in refusal(tmp_path, "--kafka-version", "3.7")


def test_a_secured_broker_needs_a_kafka_that_keeps_users(tmp_path: Path) -> None:
    assert "Kafka 3.3.2 has no users of its own" in refusal(tmp_path, "--secure", "--kafka-version", "3.3")
    assert not (tmp_path / "secure").exists()


def test_without_the_package_for_certificates_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    assert "pip install 'nextact[broker]'" in refusal(tmp_path, "--secure")


def test_an_open_directory_is_not_secured_afterwards_nor_a_secured_one_opened(tmp_path: Path) -> None:
    Layout("Nabc", (Node(1, free_port(), free_port()),)).write(tmp_path / "cluster.json")
    assert "of a broker without security" in refusal(tmp_path, "--secure")
    Layout("Nabc", (Node(1, free_port(), free_port(), free_port()),)).write(tmp_path / "cluster.json")
    assert "start it with --secure" in refusal(tmp_path)


def test_the_guide_sources_a_file_of_each_role_and_runs_commands_that_exist() -> None:
    lines = [line.strip("() ") for line in guide(Path("d/secure")).splitlines() if "nextact" in line]
    sourced = set()
    for line in lines:
        setting, source, command = (shlex.split(part) for part in line.split(";"))
        assert setting == ["set", "-a"]
        assert source[0] == "."
        sourced.add(source[1])
        check_command(" ".join(command[1:]))
    assert sourced == {f"d/secure/{role}.env" for role in ROLES}
