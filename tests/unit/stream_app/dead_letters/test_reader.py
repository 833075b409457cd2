"""Times as the command line takes them, and selections of dead letters."""

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
def test_a_text_that_is_not_a_time_is_named_in_the_error(text: str) -> None:
    with pytest.raises(UsageError, match=f"'{text}' is not a time"):
        time_of(text, 1000.0)


def test_an_unknown_reason_is_named() -> None:
    with pytest.raises(UsageError, match="unknown reason 'json'; the reasons are empty, "):
        Selection(reasons=frozenset({"json", "not_json"}))
