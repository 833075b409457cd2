"""Writes the reasons of a batch as fields of its predictions, in one compiled loop.

Weights are cut to two decimals, so that those of an item add up to at most 1.
Shapes: N predictions, k explained items, B reasons of an item.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled
from model.profile.why.explain import Reasons
from model.profile.why.reasons import CODES
from model.serving.answers import Answers
from stream_app.contract.string_columns import Bytes, Ints, Strings, copy, copy_string, frozen, strings

_FIELD: Final = np.frombuffer(b',"reasons":[', np.uint8)
_ITEM: Final = np.frombuffer(b'{"item_id":', np.uint8)
_BECAUSE: Final = np.frombuffer(b',"because":[', np.uint8)
_WEIGHT: Final = np.frombuffer(b',"weight":', np.uint8)
_OWN_ITEM: Final = np.frombuffer(b',"item_id":', np.uint8)
_END_ITEM: Final = np.frombuffer(b"]},", np.uint8)
_CODES: Final = strings([b'{"code":"%s"' % code.encode() for code in CODES])
_PER_ITEM: Final = len(_ITEM) + len(_BECAUSE) + len(_END_ITEM)  # bytes, most, without names
_PER_REASON: Final = int(np.diff(_CODES.starts).max()) + len(_WEIGHT) + 4 + len(_OWN_ITEM) + 2
_COMMA, _CLOSE, _CLOSE_LIST, _ZERO, _POINT = (ord(character) for character in ",}]0.")


class _ItemNames(NamedTuple):
    """The JSON of items' ids, by number."""

    json: Strings
    longest: int  # bytes


def reasons_json(answers: Answers, names: Strings, longest: int) -> Strings:
    """Returns the field of N predictions, with a comma before it; nothing where the answers come without reasons.

    `names` is the JSON of the items' ids, by number, of at most so many bytes.
    """
    reasons = answers.reasons
    if reasons is None:
        return frozen(np.zeros(0, np.uint8), np.zeros(len(answers.purchase) + 1, np.int64))
    return frozen(*_write(answers.items, reasons, _ItemNames(names, longest)))


@compiled
def _write(items: NDArray[np.int64], reasons: Reasons, names: _ItemNames) -> tuple[Bytes, Ints]:
    n, explained, most = reasons.codes.shape
    per_item = _PER_ITEM + names.longest + most * (_PER_REASON + names.longest)
    out, starts = np.empty(n * (len(_FIELD) + 2 + explained * per_item), np.uint8), np.zeros(n + 1, np.int64)
    at = 0
    for answer in range(n):
        at = copy(out, at, _FIELD)
        begin = at
        for rank in range(explained):
            if items[answer, rank] < 0:
                break
            at = copy_string(out, copy(out, at, _ITEM), names.json, items[answer, rank])
            at = _write_because(out, copy(out, at, _BECAUSE), answer, rank, reasons, names)
            at = copy(out, at, _END_ITEM)
        at -= at > begin  # the last comma
        out[at] = _CLOSE_LIST
        at += 1
        starts[answer + 1] = at
    return out[:at], starts


@compiled
def _write_because(out: Bytes, at: int, answer: int, rank: int, reasons: Reasons, names: _ItemNames) -> int:
    """Writes the reasons of one item; returns where they end."""
    begin = at
    for place in range(reasons.codes.shape[2]):
        code = reasons.codes[answer, rank, place]
        if code < 0:
            break
        at = copy(out, copy_string(out, at, _CODES, code), _WEIGHT)
        at = _write_weight(out, at, int(100 * reasons.weights[answer, rank, place]))
        if reasons.items[answer, rank, place] >= 0:
            at = copy_string(out, copy(out, at, _OWN_ITEM), names.json, reasons.items[answer, rank, place])
        out[at], out[at + 1] = _CLOSE, _COMMA
        at += 2
    return at - (at > begin)


@compiled
def _write_weight(out: Bytes, at: int, cents: int) -> int:
    out[at], out[at + 1] = _ZERO + cents // 100, _POINT
    out[at + 2], out[at + 3] = _ZERO + cents // 10 % 10, _ZERO + cents % 10
    return at + 4
