"""What a user will turn to next, as shares: what is counted of them, blended with what the network expects.

A share is a mixture of three distributions over the categories (or brands): by the weights of what is counted, by how
lately each was touched, and by the network's read-out. How much each counts depends on how much is known of the user.
Shapes: N answers, F fields, C classes, K kinds, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import Floats, compiled, uncounted
from model.kernels.fast_math import fast_exp
from model.kernels.gathered_dot import dot
from model.profile.counting import BANDS, BUCKETS, ENTRIES, FIELDS, Counts, bucket_of
from model.profile.fitted_preferences import LEVELS, UNFITTED, FieldWeights, FittedPreferences
from model.profile.price_bands import NO_BANDS, BandTable

SHOWN: Final = 3  # of a field
_LOWEST: Final = np.float32(-80)  # logit below the highest one that counts
LEVEL_STARTS: Final = np.array([0.0, 1.5, 3.0, 6.0], np.float32)  # weight in sum above which the next level begins


class PreferenceShares(NamedTuple):
    """The largest shares of N users."""

    keys: NDArray[np.uint64]  # (N, F, SHOWN), largest share first; 0: no more
    shares: Floats  # (N, F, SHOWN)
    bands: NDArray[np.uint8]  # (N,) price band, from 1 on; 0: not known
    limits: NDArray[np.int64]  # (N,) which of `BandTable.limits` that band has; -1: none


@dataclass(frozen=True, slots=True)
class LikedAnswers:
    """What N users like, by a model."""

    model: PreferenceModel
    shares: PreferenceShares
    scored: NDArray[np.int64]  # (F, 2) how many events scored the answers before, and how many of these were hits


class _Weights(NamedTuple):
    kinds: Floats  # (K,)
    recency: Floats  # (ENTRIES,)
    mixing: Floats  # (LEVELS, SOURCES)
    classes: NDArray[np.int64]  # (C,)


class PreferenceModel:
    """`FittedPreferences`, ready to answer."""

    def __init__(self, fitted: FittedPreferences, bands: BandTable = NO_BANDS) -> None:
        self.fitted, self.bands = fitted, bands
        self._weights = (_weights(fitted.categories), _weights(fitted.brands), _weights(fitted.prices))
        readouts = [each.readout for each in (fitted.categories, fitted.brands, fitted.prices)]
        self._layers = [
            None if each is None else (np.array(each.weights, np.float32), np.array(each.biases, np.float32))
            for each in readouts
        ]

    def answer(self, liked: Counts, vectors: Floats) -> LikedAnswers:
        """Returns what users like of whom so much is counted and who have these vectors (N, D)."""
        return LikedAnswers(self, self.shares(liked, vectors), np.zeros((FIELDS, 2), np.int64))

    def shares(self, liked: Counts, vectors: Floats) -> PreferenceShares:
        """Returns the largest shares of users of whom so much is counted and who have these vectors (N, D)."""
        expected = [_expected(layer, vectors) for layer in self._layers]
        n = len(liked.currencies)
        found = PreferenceShares(
            keys=np.zeros((n, FIELDS, SHOWN), np.uint64),
            shares=np.zeros((n, FIELDS, SHOWN), np.float32),
            bands=np.zeros(n, np.uint8),
            limits=np.full(n, -1),
        )
        for field in range(FIELDS):
            _fill_shares(liked, field, self._weights[field], expected[field], found.keys, found.shares)
        _fill_bands(liked, self._weights[FIELDS], expected[FIELDS], found.bands)
        categories = np.array(found.keys[:, 0, 0])
        buckets = np.where(categories < BUCKETS[0], categories, 1 + categories % (BUCKETS[0] - np.uint64(1)))
        rows = self.bands.rows_of(liked.currencies, buckets)
        known = (rows >= 0) & (found.bands > 0)
        found.limits[known] = (BANDS * rows + found.bands - 1)[known]
        return found


def _weights(fitted: FieldWeights) -> _Weights:
    classes = fitted.readout.classes if fitted.readout else []
    return _Weights(
        np.array(fitted.kinds, np.float32),
        np.array(fitted.recency, np.float32),
        np.array(fitted.mixing, np.float32).reshape(LEVELS, -1),
        np.array(classes, np.int64),
    )


def _expected(layer: tuple[Floats, Floats] | None, vectors: Floats) -> Floats:
    """Returns the probabilities (N, C + 1) of a read-out's classes; (N, 1) of anything where there is none.

    In a loop of our own, as NumPy's products start threads of their own, which wait for one another.
    """
    if layer is None:
        return np.ones((len(vectors), 1), np.float32)
    probabilities = np.empty((len(vectors), len(layer[1])), np.float32)
    _fill_expected(vectors, *layer, probabilities)
    return probabilities


UNFITTED_MODEL: Final = PreferenceModel(UNFITTED)


@compiled
def _fill_expected(vectors: Floats, weights: Floats, biases: Floats, probabilities: Floats) -> None:
    for n in range(len(vectors)):
        _fill_softmax(vectors[n], weights, biases, probabilities[n])


@uncounted
def _fill_softmax(vector: Floats, weights: Floats, biases: Floats, shares: Floats) -> None:
    """Fills in the probabilities (C,) of a softmax layer."""
    highest, total = np.float32(-np.inf), np.float32(0)
    for number in range(len(biases)):
        shares[number] = biases[number] + dot(weights[number], vector)
        highest = max(highest, shares[number])
    for number in range(len(biases)):
        shares[number] = fast_exp(max(shares[number] - highest, _LOWEST))
        total += shares[number]
    for number in range(len(biases)):
        shares[number] = np.divide(shares[number], total)


@compiled
def level_of(total: np.float32) -> int:
    """Returns the level of how much is counted of a user in a field, by its weight in sum."""
    level = 0
    while level < len(LEVEL_STARTS) and total > LEVEL_STARTS[level]:
        level += 1
    return level


@uncounted
def entry_shares(keys: NDArray[np.uint64], counted: Floats, weights: _Weights, shares: Floats) -> int:
    """Fills in the shares (ENTRIES,) of a user's entries by what is counted of them alone; returns the level."""
    total, valued, recent, size = np.float32(0), np.float32(0), np.float32(0), 0
    while size < len(keys) and keys[size] != 0:
        for kind in range(counted.shape[1]):
            total += counted[size, kind]
            valued += weights.kinds[kind] * counted[size, kind]
        recent += weights.recency[size]
        size += 1
    level = level_of(total)
    for entry in range(size, len(shares)):
        shares[entry] = np.float32(0)
    for entry in range(size):
        value = np.float32(0)
        for kind in range(counted.shape[1]):
            value += weights.kinds[kind] * counted[entry, kind]
        by_counts = np.divide(value, valued) if valued > 0 else np.float32(0)
        by_recency = np.divide(weights.recency[entry], recent) if recent > 0 else np.float32(0)
        shares[entry] = weights.mixing[level, 0] * by_counts + weights.mixing[level, 1] * by_recency
    return int(level)


@compiled
def _fill_shares(
    liked: Counts,
    field: int,
    weights: _Weights,
    expected: Floats,
    found: NDArray[np.uint64],
    found_shares: Floats,
) -> None:
    """Fills in the largest shares of a field (N, F, SHOWN)."""
    classes, shares = np.full(BUCKETS[field], -1, np.int64), np.empty(ENTRIES, np.float32)
    for number in range(len(weights.classes)):
        classes[weights.classes[number]] = number
    taken = np.full(len(weights.classes), -1, np.int64)  # by which answer a class is an entry's
    for n in range(len(expected)):
        keys = liked.keys[n, field]
        level = entry_shares(keys, liked.weights[n, field], weights, shares)
        of_network = weights.mixing[level, 2]
        largest, largest_shares = found[n, field], found_shares[n, field]
        for entry in range(ENTRIES):
            if keys[entry] != 0:
                number = classes[bucket_of(keys[entry], field)]
                if number >= 0 and taken[number] != n:
                    taken[number] = n
                    shares[entry] += of_network * expected[n, number]
                _insert(keys[entry], shares[entry], largest, largest_shares)
        for number in range(len(taken)):
            if taken[number] != n:
                share = of_network * expected[n, number]
                if share > largest_shares[SHOWN - 1]:
                    _insert(np.uint64(weights.classes[number]), share, largest, largest_shares)


@uncounted
def _insert(key: np.uint64, share: np.float32, keys: NDArray[np.uint64], shares: Floats) -> None:
    """Puts a share among the largest ones (SHOWN,), if it is one; of equal ones the first stays first."""
    at = len(shares)
    while at > 0 and share > shares[at - 1]:
        at -= 1
    for index in range(len(shares) - 1, at, -1):
        keys[index], shares[index] = keys[index - 1], shares[index - 1]
    if at < len(shares):
        keys[at], shares[at] = key, share


@compiled
def _fill_bands(liked: Counts, weights: _Weights, expected: Floats, bands: NDArray[np.uint8]) -> None:
    """Fills in the most probable price band of users (N,) of whom any price is counted."""
    for n in range(len(bands)):
        best, total, valued = np.float32(0), np.float32(0), np.float32(0)
        for band in range(BANDS):
            for kind in range(liked.bands.shape[2]):
                total += liked.bands[n, band, kind]
                valued += weights.kinds[kind] * liked.bands[n, band, kind]
        if valued <= 0:
            continue
        level = level_of(total)
        for band in range(BANDS):
            value = np.float32(0)
            for kind in range(liked.bands.shape[2]):
                value += weights.kinds[kind] * liked.bands[n, band, kind]
            share = weights.mixing[level, 0] * np.divide(value, valued)
            for number in range(len(weights.classes)):
                if weights.classes[number] == band + 1:
                    share += weights.mixing[level, 2] * expected[n, number]
            if share > best:
                best, bands[n] = share, band + 1
