"""Times of the command line, and selections."""

from __future__ import annotations

import pytest

from stream_app.dead_letters.reader import Selection, time_of
from stream_app.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 910_000),
        ("10m", 400_000),
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:01.5+01:00", 1500),
        ("1970-01-02T00:00:00", 86_400_000),
    ],
)
def test_a_time_is_an_age_or_a_moment(text: str, expected: int) -> None:
    assert time_of(text, 1000.0) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "5w", "-1h", "1970-13-01"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=f"'{text}' is no time"):
        time_of(text, 1000.0)


def test_an_unknown_reason_is_named() -> None:
    with pytest.raises(UsageError, match="'json'; there are empty, "):
        Selection(reasons=frozenset({"json", "not_json"}))
