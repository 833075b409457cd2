"""Dead letters keep what came and say why it was no event."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import pytest

from stream_app.dead_letters import dead_letter
from stream_app.wire import REASONS, Reason, Rejected
from tests.unit.builders import make_record


@pytest.mark.parametrize("reason", REASONS)
def test_key_bytes_and_headers_are_kept_and_the_reason_is_added(reason: Reason) -> None:
    record = make_record(b"\xff\x00", key=b"\xfe", offset=41, timestamp=99, partition=7)
    letter = dead_letter(record, Rejected(0, reason, "naïve \ud800".encode("utf-8", "replace").decode()))
    assert (letter.key, letter.value) == (b"\xfe", b"\xff\x00")
    assert letter.headers[0] == ("trace", b"abc")
    assert dict(letter.headers[1:]) == {
        "nextact.error.reason": reason.encode(),
        "nextact.error.message": "naïve ?".encode(),
        "nextact.error.topic": b"shop.events",
        "nextact.error.partition": b"7",
        "nextact.error.offset": b"41",
        "nextact.error.timestamp": b"99",
        "nextact.error.version": version("nextact").encode(),
    }


def test_a_record_without_anything_becomes_a_letter_too() -> None:
    record = replace(make_record(None, key=None), headers=())
    letter = dead_letter(record, Rejected(0, "empty", "the record has no value"))
    assert (letter.key, letter.value) == (None, None)
    assert len(letter.headers) == 7


def test_headers_of_an_earlier_dead_letter_stay() -> None:
    first = dead_letter(make_record(b"{"), Rejected(0, "not_json", "first"))
    again = dead_letter(replace(make_record(b"{"), headers=first.headers), Rejected(0, "not_json", "second"))
    messages = [value for name, value in again.headers if name == "nextact.error.message"]
    assert messages == [b"first", b"second"]  # the last one counts
