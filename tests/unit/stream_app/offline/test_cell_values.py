"""Cells of shop logs become values of the contract, or stay as they are."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from stream_app.errors import SettingsInvalid
from stream_app.offline.cell_values import column_values, finite, is_empty, milliseconds, text, zone_of

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MS = int(NOON.timestamp() * 1000)


@pytest.mark.parametrize(
    ("name", "hours"), [("UTC", 0), ("z", 0), ("+08:00", 8), ("-0330", -3.5), ("Europe/Berlin", 2), ("Asia/Tokyo", 9)]
)
def test_zones_are_names_or_offsets(name: str, hours: float) -> None:
    assert NOON.astimezone(zone_of(name)).utcoffset() == timedelta(hours=hours)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "+8", "../etc/passwd"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="unknown time zone"):
        zone_of(name)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (MS, "auto", MS),
        (MS / 1000, "auto", MS),
        (str(MS / 1000), "s", MS),
        (5, "ms", 5),
        (-1, "auto", -1000),
        (" 2024-05-01T12:00:00Z ", "auto", MS),
        ("2024-05-01 12:00:00 UTC", "auto", MS),
        (NOON.replace(tzinfo=None), "auto", MS - 8 * 3_600_000),
        (date(2024, 5, 1), "auto", MS - 20 * 3_600_000),
        ("yesterday", "auto", "yesterday"),
        (float("nan"), "auto", pytest.approx(float("nan"), nan_ok=True)),
        (True, "auto", True),
        (None, "auto", None),
    ],
)
def test_times_become_epoch_milliseconds(value: Any, unit: Any, expected: Any) -> None:
    assert milliseconds(value, unit, zone_of("+08:00")) == expected


def test_nanoseconds_are_cut_to_what_python_holds() -> None:
    column = pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns", "UTC"))
    assert column_values(column) == [datetime(2023, 11, 14, 22, 13, 20, 123456, UTC), None]
    assert column_values(pa.array(["a", None])) == ["a", None]


def test_empty_cells() -> None:
    assert all(map(is_empty, (None, "", float("nan"))))
    assert not any(map(is_empty, (0, False, " ", [], "nan")))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("9.50", 9.5), (7, 7.0), ("cheap", None), ("nan", None), ("inf", None), (True, None), ([1], None), (NOON, None)],
)
def test_numbers_are_finite(value: Any, expected: float | None) -> None:
    assert finite(value, None) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(17850.0, "17850"), (7, "7"), (b"ab", "ab"), (1.5, 1.5), (True, True), ("x", "x")]
)
def test_ids_are_text(value: Any, expected: Any) -> None:
    assert text(value) == expected


def test_bytes_that_are_not_utf8_are_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        text(b"\xff")
