"""How a record shows its format; whole records of each: test_samples."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.formats.shape import shape_of


def shape(**fields: Any) -> Any:
    return shape_of(json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("events", "is_request"),
    [([], True), ([1], True), ({}, False), ("[]", False), (None, False)],
)
def test_a_list_of_events_is_a_request_of_ga4(events: Any, is_request: bool) -> None:
    assert shape(events=events).is_ga4_request is is_request
    assert not shape().is_ga4_request


@pytest.mark.parametrize(
    ("fields", "is_call"),
    [
        ({"type": "track", "userId": "u"}, True),
        ({"type": "page", "anonymousId": "a", "userId": None}, True),
        ({"type": "track"}, False),
        ({"type": "track", "userId": None, "user_id": "u"}, False),
        ({"type": "view", "userId": "u"}, False),
        ({"type": ["track"], "userId": "u"}, False),
        ({"userId": "u"}, False),
    ],
)
def test_a_call_to_segment_has_its_type_and_one_of_the_ids(fields: dict[str, Any], is_call: bool) -> None:
    assert shape(**fields).is_segment_call is is_call


@pytest.mark.parametrize("value", [b"[]", b"{", b"\xff", b"7"])
def test_what_is_not_an_object_has_no_shape(value: bytes) -> None:
    with pytest.raises(RejectedRecord):
        shape_of(value)
