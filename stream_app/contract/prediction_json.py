"""Writes the predictions of a batch as JSON in one compiled loop; Python would take most of the interpreter's time.

Probabilities have six decimals. A prediction's id is a UUIDv5 (RFC 9562) of stream epoch, topic, partition and offset
(where a log was cut and gives an offset again, of the position that `model.state.log_cuts` gives it).
Shapes: N predictions, k recommended items, a actions, K event types.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from uuid import UUID, uuid5

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.data.event_time import FLAGS
from model.data.events import EVENT_TYPES
from model.kernels.compiled import Floats, compiled
from model.serving.answers import Answers, next_actions
from stream_app.contract.string_columns import Bytes, Ints, Strings, copy, copy_string, frozen, strings
from stream_app.errors import DataPathError

_MICRO: Final = 1_000_000  # probabilities are written in millionths
_PER_NUMBER: Final = 64  # most bytes of a number with the names and brackets around it
_PER_PREDICTION: Final = 1024  # most bytes of what a prediction has once, without the ids of users and events


def _text(characters: str) -> Bytes:
    return np.frombuffer(characters.encode(), np.uint8)


_ID: Final = _text('{"prediction_id":"')
_USER: Final = _text('","user_id":')
_EVENT: Final = _text(',"event_id":')
_EVENT_TYPE: Final = _text(',"event_type":')
_TIME: Final = _text(',"event_timestamp":')
_PARTITION: Final = _text(',"source":{"partition":')
_OFFSET: Final = _text(',"offset":')
_VERSION: Final = _text('},"model_version":')
_LENGTH: Final = _text(',"history_length":')
_FLAG: Final = _text(',"event_time_flag":')
_NEXT_TYPE: Final = _text(',"next_type":{')
_ACTIONS: Final = _text('},"next_actions":[')
_TYPE: Final = _text('{"type":')
_PROBABILITY: Final = _text(',"probability":')
_ITEM: Final = _text(',"item_id":')
_RECOMMENDATIONS: Final = _text('],"recommendations":[')
_ITEM_FIRST: Final = _text('{"item_id":')
_SCORE: Final = _text(',"score":')
_PURCHASE: Final = _text('],"purchase_probability":')
_COMMA, _COLON, _CLOSE, _DASH, _SLASH = (ord(character) for character in ",:}-/")
_ZERO, _POINT = ord("0"), ord(".")
_TEN: Final = np.uint64(10)
_HEX: Final = _text("0123456789abcdef")


def json_strings(names: Sequence[str | None]) -> Strings:
    """Returns the JSON of strings, null for None, as a column."""
    return strings(list(map(msgspec.json.Encoder().encode, names)))


_TYPES: Final = json_strings(EVENT_TYPES)
_FLAGS: Final = json_strings(FLAGS)


class SourceEvents(NamedTuple):
    """The events that N predictions answer, a column for each of their fields."""

    users: Sequence[str]
    event_ids: Sequence[str | None]
    types: NDArray[np.uint8]  # type codes
    times: Ints  # milliseconds since the epoch, as the publisher gave them
    verdicts: NDArray[np.uint8]  # indices into FLAGS: whether the times can be relied on
    partitions: Ints
    offsets: Ints
    positions: Ints  # in the logs of their partitions: as the offsets, but never given twice
    history_lengths: Ints  # events of the user so far, this one included


class _EventColumns(NamedTuple):
    """`SourceEvents` as the compiled loop takes them."""

    users: Strings
    event_ids: Strings
    version: Bytes
    types: NDArray[np.uint8]
    times: Ints
    verdicts: NDArray[np.uint8]
    partitions: Ints
    offsets: Ints
    positions: Ints
    history_lengths: Ints
    namespace: Bytes  # (16,), UUID namespace of the prediction ids


class _AnswerColumns(NamedTuple):
    """`Answers` as the compiled loop takes them; items are indices into the model's names."""

    next_type: Floats  # (N, K)
    action_types: NDArray[np.int64]  # (N, a)
    action_items: Ints  # (N, a); -1: an action without an item
    action_probabilities: Floats  # (N, a); 0: no more actions
    items: Ints  # (N, k); -1: no more items
    scores: Floats  # (N, k)
    purchase: Floats  # (N,)


class _ItemLabels(NamedTuple):
    """The JSON of a version's item ids."""

    names: Sequence[str]  # (I,), the version's own: known by identity, as comparing them would take too long
    json: Strings  # (I,)
    lengths: Ints  # (I + 1,) bytes; the last one, at index -1, is 0: an action without an item


class _Sha1Scratch(NamedTuple):
    """Memory for hashing one name, kept from prediction to prediction."""

    block: Bytes  # (64,), the padded name
    words: NDArray[np.uint64]  # (80,)


class PredictionEncoder:
    """Encodes predictions and keeps the JSON of item ids from batch to batch, of two versions while a canary runs.

    Not for two threads at once.
    """

    def __init__(self, *, epoch: int, topic: str, recommendations: int, actions: int) -> None:
        """`epoch` and `topic` of the events; a prediction has at most so many recommendations and actions."""
        self._namespace = np.frombuffer(uuid5(UUID(int=0), f"nextact/{epoch}/{topic}").bytes, np.uint8)
        self._recommendations = recommendations
        self._actions = actions
        self._labels: list[_ItemLabels] = []

    def keep(self, serving: Collection[Sequence[str]]) -> None:
        """Forgets the item ids of all versions but those that serve, given by their names of items."""
        self._labels = [labels for labels in self._labels if any(labels.names is names for names in serving)]

    def encode(self, events: SourceEvents, answers: Answers) -> Strings:
        """Returns the JSON of N predictions: each event with the answer to it.

        Raises `DataPathError` when a number is not a probability: then the model's state cannot be trusted.
        """
        labels = self._labels_of(answers.names)
        event_columns = self._event_columns(events, answers.version)
        types, ranks, probabilities = next_actions(answers, self._actions)
        columns = _AnswerColumns(
            next_type=answers.next_type,
            action_types=types,
            action_items=np.where(ranks < 0, -1, np.take_along_axis(answers.items, np.maximum(ranks, 0), 1)),
            action_probabilities=probabilities,
            items=answers.items[:, : self._recommendations],
            scores=answers.probabilities,
            purchase=answers.purchase,
        )
        text = np.empty(_most_bytes(event_columns, columns, labels.lengths), np.uint8)
        starts = np.zeros(len(columns.items) + 1, np.int64)
        if not _write(text, starts[1:], event_columns, columns, labels.json, _TYPES, _FLAGS):
            raise DataPathError(
                f"version {answers.version} gave a number that is not a probability (NaN, or not from 0 to 1)"
            )
        return frozen(text[: starts[-1]], starts)

    def _labels_of(self, names: Sequence[str]) -> _ItemLabels:
        for labels in self._labels:
            if labels.names is names:
                return labels
        json = json_strings(names)
        labels = _ItemLabels(names, json, np.append(np.diff(json.starts), 0))
        self._labels = [*self._labels[-1:], labels]
        return labels

    def _event_columns(self, events: SourceEvents, version: str) -> _EventColumns:
        return _EventColumns(
            users=json_strings(events.users),
            event_ids=json_strings(events.event_ids),
            version=json_strings([version]).text,
            types=events.types,
            times=events.times,
            verdicts=events.verdicts,
            partitions=events.partitions,
            offsets=events.offsets,
            positions=events.positions,
            history_lengths=events.history_lengths,
            namespace=self._namespace,
        )


def _most_bytes(events: _EventColumns, columns: _AnswerColumns, lengths: Ints) -> int:
    """Returns how many bytes the predictions take at most; `lengths` are those of the item ids."""
    numbers = columns.items.size + columns.action_items.size + columns.next_type.size
    ids = int(lengths[columns.items].sum() + lengths[columns.action_items].sum())
    once = len(columns.items) * (_PER_PREDICTION + len(events.version))
    return numbers * _PER_NUMBER + once + ids + len(events.users.text) + len(events.event_ids.text)


@compiled
def _probability(out: Bytes, at: int, value: float) -> int:
    """Writes a probability and returns where it ends, or -1 if the value is not one."""
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
def _integer(out: Bytes, at: int, value: int) -> int:
    """Writes an integer of 64 bits and returns where it ends."""
    size = np.uint64(value)
    if value < 0:
        out[at] = _DASH
        at, size = at + 1, np.uint64(0) - size  # unsigned, as the least integer has no positive counterpart
    digits, rest = 1, size // _TEN
    while rest:
        digits, rest = digits + 1, rest // _TEN
    for digit in range(at + digits - 1, at - 1, -1):
        out[digit] = _ZERO + np.uint8(size % _TEN)
        size //= _TEN
    return at + digits


@compiled
def _id(out: Bytes, at: int, namespace: Bytes, partition: int, offset: int, scratch: _Sha1Scratch) -> int:
    """Writes the UUIDv5 of an event's partition and offset in a namespace."""
    block, words = scratch
    size = copy(block, 0, namespace)
    size = _integer(block, size, partition)
    block[size] = _SLASH
    size = _integer(block, size + 1, offset)
    block[size] = 0x80
    block[size + 1 :] = 0
    block[62], block[63] = (8 * size) >> 8, (8 * size) & 0xFF
    _sha1(block, words)
    for byte in range(16):
        value = (words[byte // 4] >> np.uint64(24 - 8 * (byte % 4))) & np.uint64(0xFF)
        if byte == 6:
            value = value & np.uint64(0x0F) | np.uint64(0x50)
        if byte == 8:
            value = value & np.uint64(0x3F) | np.uint64(0x80)
        if byte in (4, 6, 8, 10):
            out[at] = _DASH
            at += 1
        out[at], out[at + 1] = _HEX[value >> np.uint64(4)], _HEX[value & np.uint64(0x0F)]
        at += 2
    return at


@compiled
def _rotated(word: np.uint64, by: int) -> np.uint64:
    return ((word << np.uint64(by)) | (word >> np.uint64(32 - by))) & np.uint64(0xFFFFFFFF)


@compiled
def _sha1(block: Bytes, words: NDArray[np.uint64]) -> None:
    """Computes the SHA-1 (FIPS 180-4) of one padded block (64,) into the first five of `words` (80,)."""
    mask = np.uint64(0xFFFFFFFF)
    for w in range(16):
        words[w] = 0
        for byte in range(4):
            words[w] = words[w] << np.uint64(8) | np.uint64(block[4 * w + byte])
    for w in range(16, 80):
        words[w] = _rotated(words[w - 3] ^ words[w - 8] ^ words[w - 14] ^ words[w - 16], 1)
    h0, h1, h2 = np.uint64(0x67452301), np.uint64(0xEFCDAB89), np.uint64(0x98BADCFE)
    h3, h4 = np.uint64(0x10325476), np.uint64(0xC3D2E1F0)
    a, b, c, d, e = h0, h1, h2, h3, h4
    for w in range(80):
        if w < 20:
            mixed, constant = b & c | (b ^ mask) & d, np.uint64(0x5A827999)
        elif w < 40:
            mixed, constant = b ^ c ^ d, np.uint64(0x6ED9EBA1)
        elif w < 60:
            mixed, constant = b & c | b & d | c & d, np.uint64(0x8F1BBCDC)
        else:
            mixed, constant = b ^ c ^ d, np.uint64(0xCA62C1D6)
        a, b, c, d, e = (_rotated(a, 5) + mixed + e + constant + words[w]) & mask, a, _rotated(b, 30), c, d
    words[0], words[1], words[2] = (h0 + a) & mask, (h1 + b) & mask, (h2 + c) & mask
    words[3], words[4] = (h3 + d) & mask, (h4 + e) & mask


@compiled
def _write_event(
    out: Bytes, at: int, n: int, events: _EventColumns, types: Strings, flags: Strings, scratch: _Sha1Scratch
) -> int:
    """Writes the fields of prediction n about its event and the version that made it; returns where they end."""
    at = copy(out, at, _ID)
    at = _id(out, at, events.namespace, events.partitions[n], events.positions[n], scratch)
    at = copy_string(out, copy(out, at, _USER), events.users, n)
    at = copy_string(out, copy(out, at, _EVENT), events.event_ids, n)
    at = copy_string(out, copy(out, at, _EVENT_TYPE), types, events.types[n])
    at = _integer(out, copy(out, at, _TIME), events.times[n])
    at = _integer(out, copy(out, at, _PARTITION), events.partitions[n])
    at = _integer(out, copy(out, at, _OFFSET), events.offsets[n])
    at = copy(out, copy(out, at, _VERSION), events.version)
    at = _integer(out, copy(out, at, _LENGTH), events.history_lengths[n])
    if events.verdicts[n]:
        at = copy_string(out, copy(out, at, _FLAG), flags, events.verdicts[n])
    return at


@compiled
def _write_answer(out: Bytes, at: int, n: int, answers: _AnswerColumns, ids: Strings, types: Strings) -> int:
    """Writes the fields of answer n and returns where they end, or -1 if a number is not a probability."""
    at = copy(out, at, _NEXT_TYPE)
    for kind in range(answers.next_type.shape[1]):
        at = copy_string(out, at, types, kind)
        out[at] = _COLON
        at = _probability(out, at + 1, answers.next_type[n, kind])
        if at < 0:
            return -1
        out[at] = _COMMA
        at += 1
    at = copy(out, at - 1, _ACTIONS)
    before = at
    for action in range(answers.action_types.shape[1]):
        if answers.action_probabilities[n, action] <= 0:
            break
        at = copy(out, at, _TYPE)
        at = copy_string(out, at, types, answers.action_types[n, action])
        at = _probability(out, copy(out, at, _PROBABILITY), answers.action_probabilities[n, action])
        if at < 0:
            return -1
        if answers.action_items[n, action] >= 0:
            at = copy_string(out, copy(out, at, _ITEM), ids, answers.action_items[n, action])
        out[at], out[at + 1] = _CLOSE, _COMMA
        at += 2
    at = copy(out, at - (at > before), _RECOMMENDATIONS)
    before = at
    for rank in range(answers.items.shape[1]):
        if answers.items[n, rank] < 0:
            break
        at = copy_string(out, copy(out, at, _ITEM_FIRST), ids, answers.items[n, rank])
        at = _probability(out, copy(out, at, _SCORE), answers.scores[n, rank])
        if at < 0:
            return -1
        out[at], out[at + 1] = _CLOSE, _COMMA
        at += 2
    at = _probability(out, copy(out, at - (at > before), _PURCHASE), answers.purchase[n])
    if at < 0:
        return -1
    out[at] = _CLOSE
    return at + 1


@compiled
def _write(
    out: Bytes, ends: Ints, events: _EventColumns, answers: _AnswerColumns, ids: Strings, types: Strings, flags: Strings
) -> bool:
    """Writes N predictions, and into `ends` (N,) where each ends; returns whether all numbers were probabilities."""
    scratch = _Sha1Scratch(np.empty(64, np.uint8), np.empty(80, np.uint64))
    at = 0
    for n in range(len(ends)):
        at = _write_event(out, at, n, events, types, flags, scratch)
        at = _write_answer(out, at, n, answers, ids, types)
        if at < 0:
            return False
        ends[n] = at
    return True
