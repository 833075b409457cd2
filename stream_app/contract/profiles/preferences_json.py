"""Writes what users like as JSON, `,"preferences":{…}`, for a whole batch in one compiled loop.

What has no name that is known is left out: names come with events, from the catalogue and with versions.
Shapes: N predictions, F fields (categories, brands), B buckets of a field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.data.events import ItemNames, NameTable
from model.kernels.compiled import compiled
from model.kernels.hash_table import ChangingHashTable, find_row
from model.profile.counting import BUCKETS, bucket_of
from model.profile.preference_shares import LikedAnswers, PreferenceModel, PreferenceShares
from stream_app.contract.json_numbers import probability
from stream_app.contract.predictions import PriceBand
from stream_app.contract.string_columns import Bytes, GrowingStrings, Ints, Strings, copy, copy_string, frozen, strings

_PER_USER: Final = 128  # most bytes of what a user has once
_PER_NAME: Final = 40  # most bytes around a name


def _text(characters: str) -> Bytes:
    return np.frombuffer(characters.encode(), np.uint8)


_CATEGORIES: Final = _text(',"preferences":{"categories":[')
_BRANDS: Final = _text('],"brands":[')
_NAME: Final = _text('{"name":')
_SHARE: Final = _text(',"share":')
_BAND: Final = _text('],"price_band":')
_NO_BAND: Final = _text("]")
_CLOSE, _COMMA = ord("}"), ord(",")
_ENCODER: Final = msgspec.json.Encoder()


class _Names(NamedTuple):
    """The names of a field, for the compiled loop."""

    cells: NDArray[np.uint64]  # from keys to rows
    by_bucket: Ints  # (B,) the row that stands for a bucket; -1: none
    json: Strings
    longest: int  # bytes


class _FieldNames:
    """The JSON of the names of a field, as they become more."""

    def __init__(self, field: int) -> None:
        self._buckets = np.uint64(BUCKETS[field])
        self._by_bucket = np.full(int(self._buckets), -1)
        self._table = ChangingHashTable()
        self._json = GrowingStrings()
        self._longest = 0

    def take_in(self, names: NameTable) -> None:
        """Takes in the names that are new in a table; the first one of a bucket stands for it."""
        known = len(self._json)
        if len(names) == known:
            return
        fresh = names.since(known)
        keys, rows = np.array([key for key, _ in fresh], np.uint64), np.arange(known, known + len(fresh))
        column = strings([_ENCODER.encode(name) for _, name in fresh])
        self._json.add(column)
        self._longest = max(self._longest, int(np.diff(column.starts).max()))
        self._table.put(keys, rows)
        unnamed = self._by_bucket[self._buckets_of(keys)] < 0
        self._point(keys[unnamed], rows[unnamed])

    def prefer(self, keys: NDArray[np.uint64]) -> None:
        """Has the most frequent name stand for each bucket: `keys` are those of names by falling frequency."""
        rows = self._table.find(keys)
        self._point(keys[rows >= 0], rows[rows >= 0])

    def column(self) -> _Names:
        """Returns the names as they are now."""
        return _Names(self._table.cells, self._by_bucket, self._json.column(), self._longest)

    def _point(self, keys: NDArray[np.uint64], rows: Ints) -> None:
        self._by_bucket[self._buckets_of(keys)[::-1]] = rows[::-1]  # of several the first one stays

    def _buckets_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (1 + keys % (self._buckets - np.uint64(1))).astype(np.int64)


class PreferencesEncoder:
    """Encodes preferences, and keeps the JSON of names from batch to batch. Not for two threads at once."""

    def __init__(self, names: ItemNames) -> None:
        self._names = names
        self._fields = _FieldNames(0), _FieldNames(1)
        self._bands: list[tuple[PreferenceModel, Strings]] = []  # of a canary's two versions, at most

    def encode(self, answers: LikedAnswers) -> Strings:
        """Returns the JSON of N users' preferences."""
        bands = self._bands_of(answers.model)
        categories, brands = self._fields
        categories.take_in(self._names.categories)
        brands.take_in(self._names.brands)
        text, starts = _write(answers.shares, categories.column(), brands.column(), bands)
        return frozen(text, starts)

    def _bands_of(self, model: PreferenceModel) -> Strings:
        """Returns the JSON of a version's price bands; the first time its names are taken in, too."""
        for known, bands in self._bands:
            if known is model:
                return bands
        tables = (self._names.categories, self._names.brands)
        frequent = (model.fitted.category_names, model.fitted.brand_names)
        for field, table, names in zip(self._fields, tables, frequent, strict=True):
            keys = table.keys_of(names)
            field.take_in(table)
            field.prefer(keys)
        bands = _bands_json(model)
        self._bands = [*self._bands[-1:], (model, bands)]
        return bands


def _bands_json(model: PreferenceModel) -> Strings:
    limits: Sequence[tuple[str, float | None, float | None]] = model.bands.limits()
    return strings([_ENCODER.encode(PriceBand(low, high, name or None)) for name, low, high in limits])


@compiled
def _row_of(names: _Names, key: np.uint64, field: int) -> int:
    """Returns the row of a key's name, or of the one that stands for a bucket; -1: no name is known."""
    if key < BUCKETS[field]:
        return int(names.by_bucket[bucket_of(key, field)])
    return int(find_row(names.cells, key))


@compiled
def _write_field(out: Bytes, at: int, n: int, field: int, liked: PreferenceShares, names: _Names) -> int:
    """Writes the shares of a user's categories or brands; returns where they end."""
    begin = at
    for rank in range(liked.keys.shape[2]):
        key = liked.keys[n, field, rank]
        row = _row_of(names, key, field) if key != 0 else -1
        if row >= 0:
            at = copy_string(out, copy(out, at, _NAME), names.json, row)
            share = min(max(liked.shares[n, field, rank], np.float32(0)), np.float32(1))
            at = probability(out, copy(out, at, _SHARE), share)
            out[at], out[at + 1] = _CLOSE, _COMMA
            at += 2
    return at - (at > begin)


@compiled
def _write(liked: PreferenceShares, categories: _Names, brands: _Names, bands: Strings) -> tuple[Bytes, Ints]:
    """Writes N users' preferences; returns them and where each begins and the last ends (N + 1,)."""
    count, shown = len(liked.limits), liked.keys.shape[2]
    longest = 0
    for row in range(len(bands.starts) - 1):
        longest = max(longest, bands.starts[row + 1] - bands.starts[row])
    names = shown * (2 * _PER_NAME + categories.longest + brands.longest)
    out, starts = np.empty(count * (_PER_USER + longest + names), np.uint8), np.zeros(count + 1, np.int64)
    at = 0
    for n in range(count):
        at = _write_field(out, copy(out, at, _CATEGORIES), n, 0, liked, categories)
        at = _write_field(out, copy(out, at, _BRANDS), n, 1, liked, brands)
        if liked.limits[n] >= 0:
            at = copy_string(out, copy(out, at, _BAND), bands, liked.limits[n])
        else:
            at = copy(out, at, _NO_BAND)
        out[at] = _CLOSE
        at += 1
        starts[n + 1] = at
    return out[:at], starts
