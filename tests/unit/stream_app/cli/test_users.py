"""What `nextact users` says without Kafka, with which tests/integration has it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from stream_app.cli.main import cli
from stream_app.people import newest_records
from stream_app.people.newest_records import NewestRecords


def test_help_says_what_is_shown() -> None:
    done = CliRunner().invoke(cli, ["users", "show", "--help"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "Show history, preferences, segment, scores and recommendations of a user." in done.stdout


def test_a_user_who_is_not_known_is_said_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> NewestRecords:
        return NewestRecords(None, None, 3, 120)

    monkeypatch.setattr(newest_records, "newest_records", nothing)
    done = CliRunner().invoke(cli, ["users", "show", "ada"], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("user 'ada' is not known on partition 3; looked at 120 records for ")
