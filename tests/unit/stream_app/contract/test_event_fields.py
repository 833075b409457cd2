"""The checks that all formats share. What they mean for whole events: test_events."""

from __future__ import annotations

import math

import msgspec
import pytest

from model.data.events import Event
from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.event_fields import YEAR_10000_MS, check_key, check_numbers, milliseconds, undecodable

VIEW = Event(user_id="u", type="view", item_id="i")


@pytest.mark.parametrize("field", ["price", "quantity"])
@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_are_finite(field: str, number: float) -> None:
    check_numbers(msgspec.structs.replace(VIEW, **{field: 1.5}))
    with pytest.raises(RejectedRecord, match=field):
        check_numbers(msgspec.structs.replace(VIEW, **{field: number}))


@pytest.mark.parametrize(("key", "reason"), [(None, "missing_key"), (b"", "missing_key"), (b"v", "key_mismatch")])
def test_the_key_is_the_user(key: bytes | None, reason: str) -> None:
    check_key("é".encode(), "é")
    with pytest.raises(RejectedRecord) as rejected:
        check_key(key, "u")
    assert rejected.value.reason == reason


@pytest.mark.parametrize("time", [YEAR_10000_MS, -YEAR_10000_MS, math.nan, math.inf])
def test_times_are_before_the_year_10000(time: float) -> None:
    assert milliseconds(YEAR_10000_MS - 1) == YEAR_10000_MS - 1
    with pytest.raises(RejectedRecord):
        milliseconds(time)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"\xff", "not_utf8"), (b"{", "not_json"), (b"[]", "not_object"), (b'{"user_id": 7}', "invalid_field")],
)
def test_why_a_value_cannot_be_decoded(value: bytes, reason: str) -> None:
    assert undecodable(value, ValueError("why")).reason == reason
