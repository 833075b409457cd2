"""Dead letters keep the record and say why it is not an event."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.dead_letters import DeadLetter, dead_letter, read_dead_letter, replay_record
from stream_app.contract.decoded import REASONS, Reason, Rejection
from stream_app.contract.events import decode_batch
from stream_app.contract.records import OutgoingRecord, UnreadableBatch
from stream_app.kafka.encoded_batch import encode_records
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


TOO_LARGE = Rejection(0, "too_large", "the value has more bytes than fit")


def headers_of(letter: OutgoingRecord) -> dict[str, bytes | None]:
    return {name.removeprefix("nextact.error."): value for name, value in letter.headers}


def test_a_value_that_the_topic_does_not_take_is_cut_and_says_so() -> None:
    value = bytes(range(256)) * 40
    letter = dead_letter(make_record(value), TOO_LARGE, 5000)
    assert letter.value is not None
    assert 3000 < len(letter.value) < 5000
    assert value.startswith(letter.value)
    assert (letter.key, letter.headers[0]) == (b"u", ("trace", b"abc"))
    said = headers_of(letter)
    assert said["value_bytes"] == b"10240"
    assert said["value_sha256"] == hashlib.sha256(value).hexdigest().encode()
    read = read_back(letter.headers, value=letter.value)
    assert (read.cut, read.value_bytes) == (("value",), 10240)


def test_a_value_that_just_fits_is_whole() -> None:
    for size in range(4000, 4800):
        letter = dead_letter(make_record(bytes(size)), TOO_LARGE, 5000)
        (batch,) = encode_records([letter])
        assert len(batch.data) <= 5000
        assert ("value_bytes" in headers_of(letter)) == (letter.value != bytes(size))
    assert len(dead_letter(make_record(bytes(4400)), TOO_LARGE, 5000).value or b"") == 4400


@given(
    st.none() | st.integers(0, 9000).map(bytes),
    st.none() | st.integers(0, 9000).map(bytes),
    st.lists(
        st.tuples(st.sampled_from(["trace", "é" * 900, "\udcff" * 900]), st.integers(0, 4000).map(bytes)), max_size=3
    ),
    st.integers(1500, 9000),
    st.booleans(),
)
def test_any_record_becomes_a_letter_that_fits(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]], largest: int, unreadable: bool
) -> None:
    record: Any = replace(make_record(value, key=key, offset=2**62), headers=tuple(headers))
    if unreadable:
        record = UnreadableBatch(**vars(record), first_offset=5)
    letter = dead_letter(record, Rejection(0, "too_large", "m" * 300), largest)
    (batch,) = encode_records([letter])
    assert len(batch.data) <= largest
    read = read_back(letter.headers, value=letter.value)
    assert ("value" in read.cut) == (letter.value != value)
    assert ("headers" in read.cut) == (read.headers != headers)
    assert ("key" in read.cut) == (letter.key != key)
    for part, whole in (("key", key), ("value", value)):
        if part in read.cut:
            assert headers_of(letter)[f"{part}_sha256"] == hashlib.sha256(whole or b"").hexdigest().encode()


def test_a_batch_that_cannot_be_read_becomes_one_letter_for_all_its_offsets() -> None:
    batch = UnreadableBatch(
        **vars(replace(make_record(None, key=None, offset=9), headers=())),
        first_offset=5,
        reason="too_large",
        message="a batch with offsets 5 to 9 cannot be read: 30 bytes in zstd unpack to more than 10",
    )
    (rejection,) = decode_batch([batch]).rejected
    assert (rejection.reason, rejection.message, batch.records) == ("too_large", batch.message, 5)
    letter = dead_letter(batch, rejection)
    assert (letter.key, letter.value) == (None, None)
    read = read_back(letter.headers)
    assert (read.reason, read.source_first_offset, read.source_offset, read.cut) == ("too_large", 5, 9, ())


def test_a_dead_letter_costs_microseconds() -> None:
    """Reading the metadata of the package for each took 350; the least of three runs, as others use the machine."""
    records = [make_record(b"{", offset=offset) for offset in range(10_000)]
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        rejected = decode_batch(records).rejected
        encode_records([dead_letter(records[one.position], one) for one in rejected])
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.5
