"""What is counted of users, as bytes: the section `preferences` of their records, for a whole batch in a compiled loop.

Layout, little-endian: how many actions the user had had (64 bits); how many categories, how many brands, and whether
there are price bands (8 bits each); then, for each category and each brand, its key (64 bits) and its weights
(K x 32 bits, IEEE 754); then the weights of the bands (BANDS x K x 32 bits) and the key of their currency (64 bits).
Shapes: U users, S slots, N sections.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled
from model.profile.counting import BANDS, ENTRIES, FIELDS, KINDS, Counts
from model.state.record_writer import write_number
from model.state.sections import HEAD_BYTES, PREFERENCES
from model.state.user_columns import Sections

MISSING: Final = -1  # of a user without such a section, or with one that cannot be read
_HEAD: Final = 11  # bytes in front of the first entry
_ENTRY: Final = 8 + 4 * len(KINDS)
_BANDS: Final = 4 * BANDS * len(KINDS) + 8
_MOST: Final = HEAD_BYTES + _HEAD + FIELDS * ENTRIES * _ENTRY + _BANDS

_Columns = tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint64]]


def written(counts: Counts, slots: NDArray[np.int64], actions: NDArray[np.int64]) -> Sections:
    """Returns the sections of users in slots (U,), who had so many actions (U,); nothing where nothing is counted."""
    text, starts = _write(_bits(counts), slots, actions)
    return text, starts


def read(contents: Sequence[bytes], slots: NDArray[np.int64], counts: Counts) -> NDArray[np.int64]:
    """Puts what stood in sections (N,) into empty slots (N,); returns of how many actions each was, or MISSING."""
    starts = np.fromiter(accumulate(map(len, contents), initial=0), np.int64, len(contents) + 1)
    text = np.frombuffer(b"".join(contents), np.uint8)
    actions = np.full(len(contents), MISSING)
    _read(text, starts, slots, _bits(counts), actions)
    return actions


def _bits(counts: Counts) -> _Columns:
    return counts.keys, counts.weights.view(np.uint32), counts.bands.view(np.uint32), counts.currencies


@compiled
def _write(columns: _Columns, slots: NDArray[np.int64], actions: NDArray[np.int64]) -> Sections:
    keys, weights, bands, currencies = columns
    out, starts = np.empty(len(slots) * _MOST, np.uint8), np.zeros(len(slots) + 1, np.int64)
    at = 0
    for user in range(len(slots)):
        slot, begin = slots[user], at
        at = write_number(out, begin + HEAD_BYTES, actions[user], 8)
        has_bands = bands[slot].any()
        sizes, at = at, at + 3
        for field in range(FIELDS):
            size = 0
            while size < ENTRIES and keys[slot, field, size] != 0:
                at = write_number(out, at, keys[slot, field, size], 8)
                for kind in range(weights.shape[3]):
                    at = write_number(out, at, weights[slot, field, size, kind], 4)
                size += 1
            out[sizes + field] = size
        out[sizes + 2] = has_bands
        if has_bands:
            for band in range(BANDS):
                for kind in range(bands.shape[2]):
                    at = write_number(out, at, bands[slot, band, kind], 4)
            at = write_number(out, at, currencies[slot], 8)
        if at == begin + HEAD_BYTES + _HEAD:
            at = begin  # nothing is counted
        else:
            write_number(out, begin, PREFERENCES, 2)
            write_number(out, begin + 2, at - begin - HEAD_BYTES, 4)
        starts[user + 1] = at
    return out[:at], starts


@compiled
def _read(
    text: NDArray[np.uint8],
    starts: NDArray[np.int64],
    slots: NDArray[np.int64],
    columns: _Columns,
    actions: NDArray[np.int64],
) -> None:
    keys, weights, bands, currencies = columns
    for user in range(len(slots)):
        slot, at, end = slots[user], starts[user], starts[user + 1]
        if end - at < _HEAD:
            continue
        sizes = at + 8
        expected = _HEAD + (np.int64(text[sizes]) + np.int64(text[sizes + 1])) * _ENTRY
        expected += _BANDS if text[sizes + 2] != 0 else 0
        if end - at != expected or text[sizes] > ENTRIES or text[sizes + 1] > ENTRIES:
            continue
        actions[user] = np.int64(_number(text, at, 8))
        at += _HEAD
        for field in range(FIELDS):
            for entry in range(text[sizes + field]):
                keys[slot, field, entry] = _number(text, at, 8)
                for kind in range(weights.shape[3]):
                    weights[slot, field, entry, kind] = _number(text, at + 8 + 4 * kind, 4)
                at += _ENTRY
        if text[sizes + 2] != 0:
            for band in range(BANDS):
                for kind in range(bands.shape[2]):
                    bands[slot, band, kind] = _number(text, at, 4)
                    at += 4
            currencies[slot] = _number(text, at, 8)


@compiled
def _number(text: NDArray[np.uint8], at: int, size: int) -> np.uint64:
    number = np.uint64(0)
    for byte in range(size):
        number |= np.uint64(text[at + byte]) << np.uint64(8 * byte)
    return number
