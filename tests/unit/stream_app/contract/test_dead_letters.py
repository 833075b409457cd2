"""Dead letters keep the record and say why it is not an event."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest

from stream_app.contract.dead_letters import DeadLetter, dead_letter, read_dead_letter, replay_record
from stream_app.contract.events import REASONS, Reason, Rejection
from tests.unit.builders.basics import make_record


@pytest.mark.parametrize("reason", REASONS)
def test_key_bytes_and_headers_are_kept_and_the_reason_is_added(reason: Reason) -> None:
    record = make_record(b"\xff\x00", key=b"\xfe", offset=41, timestamp=99, partition=7)
    letter = dead_letter(record, Rejection(0, reason, "naïve \ud800".encode("utf-8", "replace").decode()))
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
    letter = dead_letter(record, Rejection(0, "empty", "the record has no value"))
    assert (letter.key, letter.value) == (None, None)
    assert len(letter.headers) == 7


def test_headers_of_an_earlier_dead_letter_stay() -> None:
    first = dead_letter(make_record(b"{"), Rejection(0, "not_json", "first"))
    again = dead_letter(replace(make_record(b"{"), headers=first.headers), Rejection(0, "not_json", "second"))
    messages = [value for name, value in again.headers if name == "nextact.error.message"]
    assert messages == [b"first", b"second"]  # the last one counts


def read_back(headers: Any, *, value: bytes | None = b"{", partition: int = 7, offset: int = 3) -> DeadLetter:
    """Returns the dead letter that a record with these headers is read back as."""
    record = make_record(value, partition=partition, offset=offset, timestamp=1000)
    return read_dead_letter(replace(record, headers=tuple(headers)))


def test_a_letter_is_read_back_and_replayed_as_the_publisher_sent_it() -> None:
    record = make_record(b"{", offset=41, timestamp=99, partition=7)
    letter = read_back(dead_letter(record, Rejection(0, "not_json", "naïve")).headers)
    assert letter == DeadLetter(
        7, 3, 1000, "not_json", "naïve", "shop.events", 7, 41, 99, 0, b"u", b"{", [("trace", b"abc")]
    )
    again = replay_record(letter)
    assert (again.key, again.value) == (b"u", b"{")
    assert list(again.headers) == [
        ("trace", b"abc"),
        ("nextact.replay", b"1"),
        ("nextact.replay.partition", b"7"),
        ("nextact.replay.offset", b"3"),
    ]


def test_a_second_replay_counts_on_and_names_the_second_letter() -> None:
    first = read_back(dead_letter(make_record(b"{"), Rejection(0, "not_json", "first")).headers)
    rejected_again = replace(make_record(b"{", offset=50), headers=tuple(replay_record(first).headers))
    second = read_back(dead_letter(rejected_again, Rejection(0, "not_json", "second")).headers, offset=9)
    assert (second.replays, second.message, second.source_offset) == (1, "second", 50)
    headers = list(replay_record(second).headers)
    assert len(headers) == len(dict(headers))
    assert (dict(headers)["nextact.replay"], dict(headers)["nextact.replay.offset"]) == (b"2", b"9")


def test_headers_that_cannot_be_read_count_as_missing() -> None:
    foreign = [("nextact.error.offset", b"\xff"), ("nextact.error.reason", None), ("nextact.replay", b"-4")]
    foreign.append(("nextact.error.timestamp", b"9" * 5000))  # more digits than Python reads
    own: list[Any] = [("x", None)]  # Kafka has headers without a value
    letter = read_back([*foreign, *own])
    assert (letter.reason, letter.source_offset, letter.replays, letter.headers) == ("", -1, 0, own)
    assert letter.source_timestamp == -1
