"""`nextact dead-letters` as a command: which selections and options it refuses before it looks at Kafka."""

from __future__ import annotations

import pytest

from stream_app.cli.dead_letters import _show_progress, dead_letters
from stream_app.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay"], "--all, or --reason and --partition"),
        (["replay", "--all", "--reason", "not_json"], "--all, or --reason and --partition"),
        (["replay", "--all", "--offset", "3"], "--offset needs one --partition"),
        (["replay", "--partition", "1", "--partition", "2", "--offset", "3"], "--offset needs one --partition"),
        (["replay", "--partition", "1", "--offset", "3", "--from-beginning"], "no --from-beginning"),
        (["replay", "--reason", "bad_mood"], "'bad_mood'"),
        (["list", "--reason", "bad_mood"], "'bad_mood'"),
        (["list", "--since", "last tuesday"], "last tuesday"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        dead_letters.main(arguments, standalone_mode=False)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    _show_progress(1000, 2500)
    assert ("1,000 of 2,500 read" in capsys.readouterr().err) == terminal
