"""Shares: the compiled mixture equals one over dictionaries."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.profile.counting import BUCKETS, Counts, bucket_of, no_counts
from model.profile.fitted_preferences import UNFITTED, FieldWeights, FittedPreferences, Readout
from model.profile.preference_shares import SHOWN, PreferenceModel, level_of
from model.profile.price_bands import BandTable, PriceBands

WIDTH = 3


def field_weights(draw: st.DrawFn, classes: int) -> FieldWeights:
    number = st.floats(0.125, 1, width=32)
    rows = draw(
        st.lists(
            st.lists(st.floats(-2, 2, width=32), min_size=WIDTH + 1, max_size=WIDTH + 1),
            min_size=classes + 1,
            max_size=classes + 1,
        )
    )
    return FieldWeights(
        kinds=draw(st.lists(number, min_size=3, max_size=3)),
        recency=draw(st.lists(number, min_size=8, max_size=8)),
        mixing=draw(st.lists(st.lists(number, min_size=3, max_size=3), min_size=5, max_size=5)),
        readout=Readout(list(range(1, classes + 1)), [row[1:] for row in rows], [row[0] for row in rows]),
    )


@st.composite
def models(draw: st.DrawFn) -> PreferenceModel:
    bands = field_weights(draw, 4)
    layer = bands.readout
    assert layer is not None
    bands = FieldWeights(bands.kinds, bands.recency, bands.mixing, Readout([1, 2, 3, 4], layer.weights, layer.biases))
    return PreferenceModel(FittedPreferences(field_weights(draw, 5), field_weights(draw, 2), bands))


@st.composite
def likings(draw: st.DrawFn) -> Counts:
    counts = no_counts(2)
    weight = st.floats(0.125, 3, width=32)
    for n in range(2):
        for field in range(2):
            keys = draw(st.lists(st.integers(1, 9) | st.integers(2**40, 2**40 + 9), max_size=8, unique=True))
            counts.keys[n, field, : len(keys)] = keys
            for entry in range(len(keys)):
                counts.weights[n, field, entry] = draw(st.lists(weight, min_size=3, max_size=3))
        if draw(st.booleans()):
            counts.bands[n] = [draw(st.lists(weight, min_size=3, max_size=3)) for _ in range(5)]
    return counts


def softmax(layer: Readout | None, vector: np.ndarray) -> list[float]:
    assert layer is not None
    powers = np.exp(np.array(layer.weights) @ vector + np.array(layer.biases))
    shares: list[float] = (powers / powers.sum()).tolist()
    return shares


def plain_shares(
    fitted: FieldWeights, counts: Counts, n: int, field: int, vector: np.ndarray
) -> list[tuple[int, float]]:
    entries = [
        (int(key), row.tolist())
        for key, row in zip(counts.keys[n, field], counts.weights[n, field], strict=True)
        if key
    ]
    level = sum(sum(sum(row) for _, row in entries) > start for start in (0, 1.5, 3, 6))
    by_counts, by_recency, by_network = fitted.mixing[level]
    values = [sum(a * b for a, b in zip(fitted.kinds, row, strict=True)) for _, row in entries]
    shares: defaultdict[int, float] = defaultdict(float)
    recent = fitted.recency[: len(entries)]
    for (key, _), value, late in zip(entries, values, recent, strict=True):
        shares[key] = by_counts * value / sum(values) + by_recency * late / sum(recent)
    expected = softmax(fitted.readout, vector)
    assert fitted.readout is not None
    for bucket, probability in zip(fitted.readout.classes, expected, strict=False):
        owner = next((key for key, _ in entries if bucket_of(np.uint64(key), field) == bucket), bucket)
        shares[owner] += by_network * probability
    return sorted(shares.items(), key=lambda pair: -pair[1])[:SHOWN]


@settings(deadline=None, max_examples=50)
@given(models(), likings(), st.lists(st.floats(-1, 1, width=32), min_size=WIDTH, max_size=WIDTH))
def test_shares_are_a_mixture(model: PreferenceModel, counts: Counts, numbers: list[float]) -> None:
    vectors = np.array([numbers, numbers[::-1]], np.float32)
    found = model.answer(counts, vectors).shares
    for n in range(2):
        for field, fitted in enumerate((model.fitted.categories, model.fitted.brands)):
            wanted = plain_shares(fitted, counts, n, field, vectors[n])
            assert found.shares[n, field, : len(wanted)].tolist() == pytest.approx(
                [share for _, share in wanted], rel=1e-4
            )
            by_key = dict(plain_shares(fitted, counts, n, field, vectors[n]))
            for key, share in zip(found.keys[n, field].tolist(), found.shares[n, field].tolist(), strict=True):
                assert not key or by_key.get(key, share) == pytest.approx(share, rel=1e-4)
        prices = model.fitted.prices
        if not counts.bands[n].any():
            assert found.bands[n] == 0
            continue
        values = (counts.bands[n] @ np.array(prices.kinds)).tolist()
        level = sum(counts.bands[n].sum() > start for start in (0, 1.5, 3, 6))
        expected = [*softmax(prices.readout, vectors[n])[:4], 0.0]
        mixed = [
            prices.mixing[level][0] * value / sum(values) + prices.mixing[level][2] * probability
            for value, probability in zip(values, expected, strict=True)
        ]
        assert mixed[found.bands[n] - 1] == pytest.approx(max(mixed), rel=1e-4)


def test_levels_begin_above_their_starts() -> None:
    assert [level_of(np.float32(total)) for total in (0, 1, 1.5, 1.6, 3, 3.1, 6, 7)] == [0, 1, 1, 2, 2, 3, 3, 4]


def test_the_band_of_the_category_liked_best_is_told() -> None:
    counts = no_counts(2)
    counts.keys[:, 0, 0], counts.weights[:, 0, 0, 0], counts.bands[:, 1, 2] = (7, 2**40), 1, 1
    bands = BandTable(PriceBands({"": (1, 2, 3, 4)}, {"": {7: (10, 20, 30, 40)}}))
    found = PreferenceModel(UNFITTED, bands).answer(counts, np.zeros((2, 0), np.float32)).shares
    assert [bands.limits()[row][1:] for row in found.limits.tolist()] == [(10, 20), (1, 2)]
    assert 1 + 2**40 % (int(BUCKETS[0]) - 1) != 7
