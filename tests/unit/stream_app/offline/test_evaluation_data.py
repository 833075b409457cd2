"""What an evaluation reads: which files, and the log as a worker gets it where it is scored live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_app.errors import UsageError
from stream_app.offline.evaluation_data import DataSource, read_data
from stream_app.offline.progress import ProgressLine
from tests.unit.builders.live import SETTINGS

OPTIONS: dict[str, Any] = {
    "events": (), "test_events": (), "train_sessions": None, "test_examples": None, "version": None, "items": None,
    "live": False, "lag": None,
    "columns": (), "types": (), "constant_type": "view", "timezone": "UTC", "time_unit": "ms", "file_format": "auto",
    "baskets": False,
}  # fmt: skip
LOGS = {"events": ("a",), "test_events": ("b",)}
LISTS = {"train_sessions": "a", "test_examples": "b"}


def test_live_runs_are_of_logs_and_lags_of_live_runs() -> None:
    assert DataSource.of(OPTIONS | LOGS).live_lag is None
    assert DataSource.of(OPTIONS | LOGS | {"live": True}).live_lag == 0
    assert DataSource.of(OPTIONS | LOGS | {"live": True, "lag": 2.5}).live_lag == 2.5
    with pytest.raises(UsageError, match="give --live too"):
        DataSource.of(OPTIONS | LOGS | {"lag": 2.5})
    with pytest.raises(UsageError, match="neither --items nor --live"):
        DataSource.of(OPTIONS | LISTS | {"live": True})


def test_what_lies_behind_the_first_test_event_is_answered_whichever_file_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {
        "a": ["u1,i1,1000000000000", "u2,i2,1000000005000", "u1,i3,1000000009000", "u3,,1000000001000"],
        "b": ["u2,i4,1000000007000", "u1,i1,1000000003000", "u4,i4,1000000009000"],
    }
    for name, lines in rows.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(("user_id,item_id,timestamp", *lines)))
    files = {"events": (str(tmp_path / "a.csv"),), "test_events": (str(tmp_path / "b.csv"),)}
    data = read_data(DataSource.of(OPTIONS | files | {"live": True}), SETTINGS, ProgressLine(terminal=False))
    assert data.live is not None
    assert [(record.timestamp % 100_000, record.key) for record in data.live.records] == [
        (3000, b"u1"), (5000, b"u2"), (7000, b"u2"), (9000, b"u1"), (9000, b"u4")
    ]  # fmt: skip
    assert (data.live.past.users, data.live.past.counts.tolist()) == (["u1"], [1])
    assert data.split.cut == 1000000003000
    said = capsys.readouterr().err
    assert "2 events of --events lie at or after" in said
    assert "1 of 7 rows are not events" in said
