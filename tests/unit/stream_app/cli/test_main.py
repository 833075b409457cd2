"""The command line as a whole: its help, its exit codes, and the commands that only it has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from model.errors import NextactError
from stream_app.cli.common import INTERRUPTED
from stream_app.cli.main import cli, main
from stream_app.errors import DataPathError, UsageError


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    """The words of all commands, those of groups first."""
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, *path, name)
    return found


@pytest.mark.parametrize("words", commands(cli), ids=" ".join)
def test_every_command_and_option_has_a_help_text(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, [*words, "--help"])
    assert done.exit_code == 0
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    assert command.help
    without = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert set(without) <= {"time_unit", "file_format"}  # their choices say it


def test_help_imports_nothing_that_takes_seconds() -> None:
    script = "import sys; import stream_app.cli.main; print(sorted({'torch', 'faust', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("no such file"), 2, "Error: no such file\n"),
        (DataPathError("the history is damaged"), 70, "Error: the history is damaged\n"),
        (NextactError("something else"), 1, "Error: something else\n"),
        (KeyboardInterrupt(), INTERRUPTED, "\n"),
        (click.Abort(), INTERRUPTED, ""),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_context: click.Context) -> None:
        raise error

    monkeypatch.setattr(cli.commands["schema"], "invoke", fail)
    monkeypatch.setattr(sys, "argv", ["nextact", "schema"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code, capsys.readouterr().err) == (code, message)


def test_an_unknown_option_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["nextact", "worker", "--colour", "red"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "No such option: --colour" in capsys.readouterr().err


def test_schemas_are_printed_or_written(tmp_path: Path) -> None:
    printed = json.loads(CliRunner().invoke(cli, ["schema"]).stdout)
    assert printed.keys() == {"event", "item", "prediction"}
    done = CliRunner().invoke(cli, ["schema", "--write", str(tmp_path / "contract")])
    assert done.exit_code == 0
    assert [f"wrote {path}" for path in sorted((tmp_path / "contract").iterdir())] == sorted(done.stdout.splitlines())
    assert json.loads((tmp_path / "contract" / "event.schema.json").read_text())["type"] == "object"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", "--poison", "0.9"], "0.9"),
        (["simulate", "--items", "30"], "at least 50"),
        (["send", "none.csv", "--type", "gaze"], "gaze"),
        (["worker", "--rules-share", "7"], "rules_share"),
    ],
)
def test_values_that_cannot_be_are_refused_before_anything_starts(arguments: list[str], said: str) -> None:
    with pytest.raises((UsageError, click.UsageError), match=said):
        cli.main(arguments, standalone_mode=False)
