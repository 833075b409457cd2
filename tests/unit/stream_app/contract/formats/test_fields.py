"""Fields as other systems write them; Python's own float is the oracle of numbers in texts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.formats.fields import id_of, number_of, price_of, text_of, user_of


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (7, "7"), (-1, "-1"), (0, "0"), ("", None), ("(not set)", None), (None, None)]
)
def test_texts(value: Any, text: str | None) -> None:
    assert text_of(value) == text
    assert id_of(value, "item_id") == text


def test_an_id_may_have_256_characters() -> None:
    assert id_of("é" * 256, "item_id") == "é" * 256
    for long in ("é" * 257, 10**256):
        with pytest.raises(RejectedRecord, match="item_id has more than 256") as rejected:
            id_of(long, "item_id")
        assert rejected.value.reason == "too_long"


@pytest.mark.parametrize(
    ("key", "ids", "user"),
    [
        (b"ada", ("ada", "cookie"), "ada"),
        (b"cookie", ("ada", "cookie"), "cookie"),
        (b"7", (None, 7), "7"),
        ("é".encode(), ("", "é"), "é"),
    ],
)
def test_the_user_is_the_id_that_the_key_is(key: bytes, ids: tuple[Any, ...], user: str) -> None:
    assert user_of(key, *ids) == user


@pytest.mark.parametrize(
    ("key", "ids", "reason"),
    [
        (b"eve", ("ada", "cookie"), "key_mismatch"),
        (b"eve", (None, ""), "missing_field"),
        (None, ("ada",), "missing_key"),
        (b"", ("ada",), "missing_key"),
        (b"u" * 257, ("u" * 257,), "too_long"),
    ],
)
def test_a_key_that_is_no_id(key: bytes | None, ids: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(RejectedRecord) as rejected:
        user_of(key, *ids)
    assert rejected.value.reason == reason


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18))
def test_numbers_may_be_texts(number: float) -> None:
    assert number_of(number, "price") == number
    assert number_of(repr(number), "price") == float(number)


@pytest.mark.parametrize("number", ["", None])
def test_no_number(number: Any) -> None:
    assert number_of(number, "price") is None


@pytest.mark.parametrize(
    "text",
    ["nan", "inf", "1_000", "1,5", " 1", "1 EUR", "0x1", "\N{ARABIC-INDIC DIGIT ONE}", "1e999"],
)
def test_other_texts_are_no_numbers(text: Any) -> None:
    with pytest.raises(RejectedRecord, match="price is"):
        number_of(text, "price")


def test_a_price_is_not_negative() -> None:
    assert (price_of("9.50"), price_of(0), price_of(None)) == (9.5, 0, None)
    with pytest.raises(RejectedRecord, match="below 0"):
        price_of("-0.01")
