"""Dead letters as lines for people and as JSON for programs."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.dead_letters import DeadLetter, dead_letter, read_dead_letter
from stream_app.contract.decoded import Rejection
from stream_app.dead_letters.listing import as_json, line, summary
from tests.unit.builders.basics import make_record


def letter(value: bytes | None, *, key: bytes | None = b"ada", message: str = "why") -> DeadLetter:
    record = make_record(value, key=key, offset=41, timestamp=99, partition=7)
    made = dead_letter(record, Rejection(0, "not_json", message))
    stored = replace(make_record(value, key=key, offset=3, timestamp=1_000, partition=7), headers=tuple(made.headers))
    return read_dead_letter(stored)


def test_a_line_says_when_where_why_and_what() -> None:
    assert line(letter(b'{"a":1'), 200) == ('1970-01-01 00:00:01Z shop.events/7@41 not_json: why key=ada value={"a":1')
    replayed = letter(None, key=None)._replace(replays=2)
    assert line(replayed, 200).endswith("not_json (replay 2): why key=none value=none")


@given(st.binary(max_size=400), st.binary(max_size=40), st.text(max_size=40), st.integers(20, 200))
def test_a_line_fits_and_cannot_control_a_terminal(value: bytes, key: bytes, message: str, width: int) -> None:
    text = line(letter(value, key=key)._replace(message=message), width)
    assert len(text) <= width
    assert text.isprintable()


@pytest.mark.parametrize("time", [-(2**63), 2**63 - 1, 10**15])
def test_a_time_that_no_calendar_has_is_shown_as_it_is(time: int) -> None:
    assert line(letter(b"{")._replace(timestamp=time), 200).startswith(f"{time} ms shop.events/7@41 ")


@given(st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=10))
def test_json_gives_every_byte_back(value: bytes | None, key: bytes | None) -> None:
    shown = json.loads(as_json(letter(value, key=key)))
    for name, expected in (("value", value), ("key", key)):
        if name in shown:
            assert (None if shown[name] is None else shown[name].encode()) == expected
        else:
            assert base64.b64decode(shown[f"{name}_base64"]) == expected
    assert shown["source"] == {"topic": "shop.events", "partition": 7, "offset": 41, "timestamp": 99}
    assert shown["headers"] == [{"name": "trace", "value": "abc"}]
    assert (shown["partition"], shown["offset"], shown["timestamp"]) == (7, 3, 1000)


def test_the_summary_has_the_most_frequent_first() -> None:
    rows = summary(Counter(empty=2, not_json=1200)).splitlines()
    assert [row.split() for row in rows] == [["1,200", "not_json"], ["2", "empty"], ["1,202", "dead", "letters"]]


def test_a_batch_without_records_shows_its_offsets() -> None:
    passed_over = letter(None, key=None)._replace(source_first_offset=38)
    assert "shop.events/7@38-41 not_json" in line(passed_over, 200)
    assert json.loads(as_json(passed_over))["source"]["first_offset"] == 38


def test_what_was_cut_is_said() -> None:
    cut = letter(b"{")._replace(cut=("headers", "value"), value_bytes=20_000_000)
    assert "not_json (cut: headers, value): why" in line(cut, 200)
    shown = json.loads(as_json(cut))
    assert (shown["cut"], shown["value_bytes"]) == (["headers", "value"], 20_000_000)
    assert "cut" not in json.loads(as_json(letter(b"{")))


def test_a_header_name_of_any_bytes_is_base64() -> None:
    odd = letter(b"{")._replace(headers=[("tr\udce9ce", None)])
    assert json.loads(as_json(odd))["headers"] == [{"name_base64": "dHLpY2U=", "value": None}]
