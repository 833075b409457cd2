"""`nextact evaluate` as a command: mistakes are named in one line. What it measures: `offline/test_evaluate.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.errors import NextactError
from stream_app.cli.common import INTERRUPTED
from stream_app.cli.main import cli, main
from stream_app.errors import UsageError
from tests.unit.builders.shop_logs import write_logs, write_sessions


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files[:2], "--test-events"),
        (lambda files: (*files, "--train-sessions", "x"), "--train-sessions"),
        (lambda files: ("--events", "none.csv", *files[2:]), "none.csv cannot be opened"),
        (lambda files: files[:-2], "visitor"),
        (lambda files: (*files, "--model", "nowhere"), "--model nowhere: missing_file"),
        (lambda files: (*files, "--device", "abacus"), "abacus"),
        (lambda files: (*files, "--timezone", "Mars"), "Mars"),
        (lambda files: (*files, "--lag", "2"), "give --live too"),
        (lambda files: (*files[:2], "--test-events", files[1], *files[4:]), "nothing|no action"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(NextactError, match=said) as caught:
        cli.main(["evaluate", *change(write_logs(tmp_path))], standalone_mode=False)
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_too_little_to_train_on_is_the_files_fault(tmp_path: Path) -> None:
    train, test = tmp_path / "a", tmp_path / "b"
    train.write_text("1 2\n")
    test.write_text("1\t2\n")
    with pytest.raises(UsageError, match=r"a, .*b: 1 actions"):
        cli.main(["evaluate", "--train-sessions", str(train), "--test-examples", str(test)], standalone_mode=False)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"nextact\[plot\]"):
        cli.main(["evaluate", *write_sessions(tmp_path), "--plot", str(tmp_path)], standalone_mode=False)


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stream_app.offline.evaluate.fit_on_split", interrupted)
    monkeypatch.setattr(sys, "argv", ["nextact", "evaluate", *write_sessions(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == INTERRUPTED
