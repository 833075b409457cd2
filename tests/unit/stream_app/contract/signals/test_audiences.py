"""Audiences as they are written, read and sent."""

from __future__ import annotations

import pytest

from model.profile.audiences import Audience, Count, Range
from stream_app.contract.signals.audiences import decode_audience, encode_audience, read_audiences, written_audiences

TEXT = """
[lost-buyers]
about = "bought \\"twice\\", silent"
idle_hours = { at_least = 72 }
counts = [{ type = "purchase", days = 30, at_least = 2 }, { type = "view", at_most = 5 }]

["warm.carts"]
cart_open = true
purchase_probability = { at_least = 0.2, at_most = 0.9 }
"""
AUDIENCES = {
    "lost-buyers": Audience(
        about='bought "twice", silent',
        idle_hours=Range(at_least=72),
        counts=[Count("purchase", 30, at_least=2), Count("view", at_most=5)],
    ),
    "warm.carts": Audience(cart_open=True, purchase_probability=Range(0.2, 0.9)),
}


def test_a_file_is_read_and_written() -> None:
    assert read_audiences(TEXT) == AUDIENCES
    assert read_audiences(written_audiences(AUDIENCES)) == AUDIENCES
    assert read_audiences("") == {}


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="not TOML"):
        read_audiences("[a")
    wrong = "[a]\nsegmant = 1\n[B]\ncart_open = 1\n[c]\nvisits = {at_least = 3, at_most = 2}\n[d]\n"
    with pytest.raises(ValueError, match="segmant") as caught:
        read_audiences(f"x = 1\n{wrong}")
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["x", "a", "B", "B", "c", "d"]


def test_a_record_is_an_audience_or_says_that_one_is_gone() -> None:
    for name, audience in AUDIENCES.items():
        assert decode_audience(name.encode(), encode_audience(audience)) == (name, audience)
    assert decode_audience(b"a", None) == ("a", None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"a", b"{}"),
        (b"a", b"{"),
        (b"\xff", b"{}"),
        (b"A b", encode_audience(AUDIENCES["warm.carts"])),
        (b"a", b'{"cart_open":true,"of_a_later_version":1}'),  # half of the conditions would be another audience
    ],
)
def test_what_is_no_audience_is_refused(key: bytes | None, value: bytes) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        decode_audience(key, value)
