"""The answers of a batch as JSON, written in one compiled loop: the half of a prediction that differs in every number.

`wire` writes the other half, which event the prediction follows. Probabilities have six decimals.
Shapes: N answers, k ranked items shown, a actions, K event types; T bytes of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.answers import Answers, next_actions
from model.compiled import compiled
from model.events import EVENT_TYPES
from stream_app.errors import DataPathError

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_MICRO: Final = 1_000_000
_PER_NUMBER: Final = 64  # bytes, at most, of a number and the names and brackets around it
_PER_ANSWER: Final = 256  # likewise of the names and brackets around the lists


def _text(characters: str) -> Bytes:
    return np.frombuffer(characters.encode(), np.uint8)


_NEXT_TYPE: Final = _text('"next_type":{')
_ACTIONS: Final = _text('},"next_actions":[')
_TYPE: Final = _text('{"type":')
_PROBABILITY: Final = _text(',"probability":')
_ITEM: Final = _text(',"item_id":')
_RECOMMENDATIONS: Final = _text('],"recommendations":[')
_ITEM_FIRST: Final = _text('{"item_id":')
_SCORE: Final = _text(',"score":')
_PURCHASE: Final = _text('],"purchase_probability":')
_COMMA, _COLON, _CLOSE = (ord(character) for character in ",:}")
_ZERO, _POINT = ord("0"), ord(".")


class Labels:
    """Strings as JSON, one behind the other."""

    def __init__(self, names: Sequence[str]) -> None:
        encode = msgspec.json.Encoder().encode
        quoted = [encode(name) for name in names]
        self.text: Bytes = np.frombuffer(b"".join(quoted), np.uint8)  # (T,)
        self.lengths: Ints = np.array([len(name) for name in quoted], np.int64)
        self.starts: Ints = np.concatenate((np.zeros(1, np.int64), np.cumsum(self.lengths)))  # of each, and the end


_TYPES: Final = Labels(EVENT_TYPES)


class AnswerEncoder:
    """Keeps the JSON of the item ids from batch to batch. Not for two threads at once."""

    def __init__(self, *, recommendations: int, actions: int) -> None:
        """How many of each an answer shows, at most."""
        self._shown = recommendations
        self._actions = actions
        self._names: Sequence[str] = ()
        self._labels = Labels(())

    def encode(self, answers: Answers) -> list[bytes]:
        """Of each answer the fields from `next_type` on, with the closing brace of the prediction.

        Raises `DataPathError` when a number is no probability: then the model's state cannot be trusted.
        """
        if answers.names is not self._names:
            self._names, self._labels = answers.names, Labels(answers.names)
        kinds, places, chances = next_actions(answers, self._actions)
        on_items = np.where(places < 0, -1, np.take_along_axis(answers.items, np.maximum(places, 0), 1))
        items = answers.items[:, : self._shown]
        text = np.empty(self._room(items, on_items, answers.next_type), np.uint8)
        ends = np.empty(len(items), np.int64)
        sound = _write(
            text,
            ends,
            answers.next_type,
            kinds,
            on_items,
            chances,
            items,
            answers.probabilities,
            answers.purchase,
            self._labels.text,
            self._labels.starts,
            _TYPES.text,
            _TYPES.starts,
        )
        if not sound:
            raise DataPathError(f"version {answers.version} gave a probability that is none")
        return _cut(text, ends)

    def _room(self, items: Ints, on_items: Ints, next_type: Floats) -> int:
        numbers = items.size + on_items.size + next_type.size
        lengths = np.append(self._labels.lengths, 0)  # -1: no item
        ids = int(lengths[items].sum() + lengths[on_items].sum())
        return numbers * _PER_NUMBER + len(items) * _PER_ANSWER + ids


def _cut(text: Bytes, ends: Ints) -> list[bytes]:
    whole = text.tobytes()
    start, parts = 0, []
    for end in ends.tolist():
        parts.append(whole[start:end])
        start = end
    return parts


@compiled
def _copy(out: Bytes, at: int, text: Bytes) -> int:
    for i in range(len(text)):
        out[at + i] = text[i]
    return at + len(text)


@compiled
def _label(out: Bytes, at: int, text: Bytes, starts: Ints, which: int) -> int:
    return _copy(out, at, text[starts[which] : starts[which + 1]])  # type: ignore[no-any-return]


@compiled
def _number(out: Bytes, at: int, value: float) -> int:
    """Writes a probability; a negative position says that it is none."""
    if not -0.5e-6 <= value < 1 + 0.5e-6:
        return -1
    micro = np.int64(value * _MICRO + 0.5)
    out[at] = _ZERO + micro // _MICRO
    out[at + 1] = _POINT
    for digit in range(7, 1, -1):
        out[at + digit] = _ZERO + micro % 10
        micro //= 10
    return at + 8


@compiled
def _write(
    out: Bytes,
    ends: Ints,
    next_type: Floats,
    kinds: Ints,
    on_items: Ints,
    chances: Floats,
    items: Ints,
    scores: Floats,
    purchase: Floats,
    ids: Bytes,
    id_starts: Ints,
    types: Bytes,
    type_starts: Ints,
) -> bool:
    """Writes N answers; `ends` (N,) says where. Returns whether all numbers were probabilities."""
    at = 0
    for n in range(len(ends)):
        at = _copy(out, at, _NEXT_TYPE)
        for kind in range(next_type.shape[1]):
            at = _label(out, at, types, type_starts, kind)
            out[at] = _COLON
            at = _number(out, at + 1, next_type[n, kind])
            if at < 0:
                return False
            out[at] = _COMMA
            at += 1
        at = _copy(out, at - 1, _ACTIONS)
        before = at
        for action in range(kinds.shape[1]):
            if chances[n, action] <= 0:
                break
            at = _copy(out, at, _TYPE)
            at = _label(out, at, types, type_starts, kinds[n, action])
            at = _number(out, _copy(out, at, _PROBABILITY), chances[n, action])
            if at < 0:
                return False
            if on_items[n, action] >= 0:
                at = _label(out, _copy(out, at, _ITEM), ids, id_starts, on_items[n, action])
            out[at], out[at + 1] = _CLOSE, _COMMA
            at += 2
        at = _copy(out, at - (at > before), _RECOMMENDATIONS)
        before = at
        for place in range(items.shape[1]):
            if items[n, place] < 0:
                break
            at = _label(out, _copy(out, at, _ITEM_FIRST), ids, id_starts, items[n, place])
            at = _number(out, _copy(out, at, _SCORE), scores[n, place])
            if at < 0:
                return False
            out[at], out[at + 1] = _CLOSE, _COMMA
            at += 2
        at = _number(out, _copy(out, at - (at > before), _PURCHASE), purchase[n])
        if at < 0:
            return False
        out[at] = _CLOSE
        at += 1
        ends[n] = at
    return True
