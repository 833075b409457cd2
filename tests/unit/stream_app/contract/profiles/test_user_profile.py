"""A profile's record reads as it was written, and its schema takes it."""

from __future__ import annotations

import json

import jsonschema
import msgspec
import pytest

from stream_app.contract.predictions import NamedShare, Preferences, Segment
from stream_app.contract.profiles.user_profile import decode_profile, profile_json, profile_schema


def test_a_profile_reads_as_it_was_written() -> None:
    fields = b',"leave_probability":0.25,"segment":{"id":3,"name":"often","fit":0.5},'
    fields += b'"preferences":{"categories":[{"name":"shoes","share":0.75}]}'
    value = profile_json('a"\u00e9', 5, "v1", fields)
    profile = decode_profile(value)
    assert (profile.user_id, profile.event_timestamp, profile.model_version) == ('a"\u00e9', 5, "v1")
    assert (profile.leave_probability, profile.return_probability) == (0.25, None)
    assert profile.segment == Segment(3, "often", 0.5)
    assert profile.preferences == Preferences([NamedShare("shoes", 0.75)])
    jsonschema.validate(json.loads(value), profile_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(value) | {"leave_probability": 2}, profile_schema())


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_profile_is_refused(value: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_profile(value)
