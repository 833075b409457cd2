"""Writes the segments of a batch's users as fields of its predictions, in one compiled loop.

Shapes: N predictions, G segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np

from model.kernels.compiled import Floats, compiled
from model.profile.segments import SegmentAnswers
from stream_app.contract.json_numbers import probability
from stream_app.contract.string_columns import Bytes, Ints, Strings, copy, copy_string, frozen, strings
from stream_app.errors import DataPathError

_FIT: Final = np.frombuffer(b',"fit":', np.uint8)
_PROBABILITY: Final = 8  # bytes
_CLOSE: Final = ord("}")


def segments_json(answers: SegmentAnswers) -> Strings:
    """Returns the field of N predictions, each with a comma before it.

    Raises `DataPathError` when a number is not from 0 to 1: then the version's segments cannot be trusted.
    """
    heads = _heads(tuple(answers.names), tuple(answers.ids.tolist()))
    text, starts = _write(answers.numbers, answers.fits, heads, int(np.diff(heads.starts).max()))
    if not len(starts):
        raise DataPathError("how well a user fits a segment is not from 0 to 1")
    return frozen(text, starts)


@lru_cache(maxsize=4)  # of a canary's two versions, and of those before a promotion
def _heads(names: Sequence[str], ids: Sequence[int]) -> Strings:
    """Returns what is the same for all users of each segment (G,)."""
    pairs = zip(names, ids, strict=True)
    return strings([b',"segment":{"id":%d,"name":%b' % (number, msgspec.json.encode(name)) for name, number in pairs])


@compiled
def _write(numbers: Ints, fits: Floats, heads: Strings, longest: int) -> tuple[Bytes, Ints]:
    """Writes N fields; returns nothing at all when a number is not from 0 to 1."""
    out = np.empty(len(numbers) * (longest + len(_FIT) + _PROBABILITY + 1), np.uint8)
    starts, at = np.zeros(len(numbers) + 1, np.int64), 0
    for n in range(len(numbers)):
        at = probability(out, copy(out, copy_string(out, at, heads, numbers[n]), _FIT), fits[n])
        if at < 0:
            return out[:0], starts[:0]
        out[at] = _CLOSE
        at += 1
        starts[n + 1] = at
    return out[:at], starts
