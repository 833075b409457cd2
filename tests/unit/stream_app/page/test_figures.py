"""Numbers for people."""

from __future__ import annotations

import math
from datetime import UTC

import pytest

from stream_app.page import figures


@pytest.mark.parametrize(
    ("value", "words"), [(None, "—"), (0, "0"), (0.04, "0.0"), (9.94, "9.9"), (9.96, "10"), (1234.5, "1,234")]
)
def test_a_rate_has_a_decimal_below_ten(value: float | None, words: str) -> None:
    assert figures.rate(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ("—", "ms")),
        (0.0042, ("4.2", "ms")),
        (0.0274, ("27", "ms")),
        (1.5, ("1,500", "ms")),
        (12.34, ("12.3", "s")),
        (math.inf, ("> 300", "s")),
    ],
)
def test_a_duration_has_its_unit(seconds: float | None, words: tuple[str, str]) -> None:
    assert figures.milliseconds(seconds) == words


@pytest.mark.parametrize(
    ("ms", "words"), [(0, "0 ms"), (9999, "9,999 ms"), (10_000, "10 s"), (61_000, "1 min 1 s"), (3_600_000, "1 h")]
)
def test_an_age_is_in_milliseconds_up_to_ten_seconds(ms: int, words: str) -> None:
    assert figures.age(ms) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min"), (119.4, "1 min 59 s"), (7260, "2 h 1 min"), (86_400 * 3 + 3600, "3 d 1 h")],
)
def test_a_span_has_two_units_at_most(seconds: float, words: str) -> None:
    assert figures.span(seconds) == words


def test_other_numbers() -> None:
    assert (figures.count(12345), figures.count(None)) == ("12,345", "—")
    assert (figures.percent(0.8194), figures.percent(None)) == ("81.9 %", "— %")
    assert figures.clock_time(3661.9, UTC) == "01:01:01"
