"""The JSON of what users like: names by keys and by buckets, compared with what a subscriber decodes."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.events import CATEGORY_BUCKETS, ItemNames, currency_key, name_keys, text_buckets
from model.profile.counting import no_counts
from model.profile.fitted_preferences import UNFITTED, FittedPreferences
from model.profile.preference_shares import LikedAnswers, PreferenceModel, PreferenceShares
from model.profile.price_bands import BandTable, PriceBands
from stream_app.contract.predictions import Preferences
from stream_app.contract.profiles.preferences_json import PreferencesEncoder
from stream_app.contract.string_columns import Strings

NAMES = st.text(min_size=1, max_size=8) | st.sampled_from(["a", 'quote"d', "€"])
SHARES = st.floats(0, 1, width=32)
MODEL = PreferenceModel(UNFITTED, BandTable(PriceBands({"EUR": (1.5, 2, 3, 4), "": (1, 2, 3, 4)})))
NO_SCORES = np.zeros((2, 2), np.int64)


def decoded(column: Strings) -> list[Preferences]:
    texts = [column.text[begin:end].tobytes() for begin, end in zip(column.starts[:-1], column.starts[1:], strict=True)]
    return [
        msgspec.convert(json.loads(b"{" + text.removeprefix(b",") + b"}")["preferences"], Preferences) for text in texts
    ]


def shares_of(rows: list[list[list[tuple[str, float]]]], limits: list[int] | None = None) -> LikedAnswers:
    keys, shares = np.zeros((len(rows), 2, 3), np.uint64), np.zeros((len(rows), 2, 3), np.float32)
    for n, fields in enumerate(rows):
        for field, named in enumerate(fields):
            keys[n, field, : len(named)] = name_keys([name for name, _ in named])
            shares[n, field, : len(named)] = [share for _, share in named]
    rows_of_limits = np.array(limits or [-1] * len(rows), np.int64)
    return LikedAnswers(MODEL, PreferenceShares(keys, shares, np.zeros(len(rows), np.uint8), rows_of_limits), NO_SCORES)


@settings(deadline=None)
@given(st.lists(st.lists(st.lists(st.tuples(NAMES, SHARES), max_size=3), min_size=2, max_size=2), max_size=4))
def test_names_and_shares_are_written_as_they_are(rows: list[list[list[tuple[str, float]]]]) -> None:
    names = ItemNames()
    for fields in rows:
        names.categories.keys_of([name for name, _ in fields[0]])
        names.brands.keys_of([name for name, _ in fields[1]])
    found = decoded(PreferencesEncoder(names).encode(shares_of(rows)))
    for one, fields in zip(found, rows, strict=True):
        for written, named in zip((one.categories, one.brands), fields, strict=True):
            assert [each.name for each in written] == [name for name, _ in named]
            assert [each.share for each in written] == pytest.approx([share for _, share in named], abs=1e-6)


def test_what_has_no_name_is_left_out_and_names_may_come_later() -> None:
    names = ItemNames()
    encoder = PreferencesEncoder(names)
    answers = shares_of([[[("a", 0.5), ("b", 0.25)], []]])
    assert decoded(encoder.encode(answers)) == [Preferences()]
    names.categories.keys_of(["b"])
    assert [each.name for each in decoded(encoder.encode(answers))[0].categories] == ["b"]


def test_a_bucket_has_the_name_that_its_version_met_most_often() -> None:
    first, second, number = "name 0", "", 0
    while not second:
        number += 1
        if text_buckets([f"name {number}"], CATEGORY_BUCKETS) == text_buckets([first], CATEGORY_BUCKETS):
            second = f"name {number}"
    names = ItemNames()
    names.categories.keys_of([first, second])
    bucket = np.zeros((1, 2, 3), np.uint64)
    bucket[0, 0, 0] = text_buckets([first], CATEGORY_BUCKETS)[0]
    shares = PreferenceShares(bucket, np.full((1, 2, 3), 0.5, np.float32), np.zeros(1, np.uint8), np.full(1, -1))
    encoder = PreferencesEncoder(names)
    assert decoded(encoder.encode(LikedAnswers(MODEL, shares, NO_SCORES)))[0].categories[0].name == first
    fitted = FittedPreferences(UNFITTED.categories, UNFITTED.brands, UNFITTED.prices, (second, first))
    found = decoded(encoder.encode(LikedAnswers(PreferenceModel(fitted), shares, NO_SCORES)))
    assert found[0].categories[0].name == second


def test_price_bands_have_their_limits_and_their_currency() -> None:
    counts = no_counts(3)
    counts.bands[0, 0, 0] = counts.bands[1, 4, 0] = counts.bands[2, 1, 0] = 1
    counts.currencies[:] = [currency_key("EUR"), currency_key("EUR"), 0]
    answers = MODEL.answer(counts, np.zeros((3, 0), np.float32))
    low, high, plain = (one.price_band for one in decoded(PreferencesEncoder(ItemNames()).encode(answers)))
    assert low is not None
    assert high is not None
    assert plain is not None
    assert (low.low, low.high, low.currency) == (None, 1.5, "EUR")
    assert (high.low, high.high) == (4, None)
    assert (plain.low, plain.high, plain.currency) == (1, 2, None)
