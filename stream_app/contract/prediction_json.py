"""The predictions of a batch as JSON, written in one compiled loop: Python would take most of the interpreter's time.

Probabilities have six decimals. An id is a UUIDv5 (RFC 9562) over stream epoch, topic, partition and offset.
Shapes: N predictions, k ranked items shown, a actions, K event types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID, uuid5

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.data.event_time import FLAGS
from model.data.events import EVENT_TYPES
from model.kernels.compiled import compiled
from model.serving.answers import Answers, next_actions
from stream_app.contract.string_columns import Bytes, Ints, Strings, copy, copy_string, frozen, strings
from stream_app.errors import DataPathError

Floats = NDArray[np.float32]

_MICRO: Final = 1_000_000
_PER_NUMBER: Final = 64  # bytes, at most, of a number and the names and brackets around it
_PER_PREDICTION: Final = 1024  # likewise of all that is in it once, but for ids of users and events


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
_HEX: Final = _text("0123456789abcdef")


def labels(names: Sequence[str | None]) -> Strings:
    """Strings as JSON; null where there is none."""
    return strings(list(map(msgspec.json.Encoder().encode, names)))


_TYPES: Final = labels(EVENT_TYPES)
_FLAGS: Final = labels(FLAGS)


class SourceEvents(NamedTuple):
    """The events that N predictions follow, a column for each of their fields."""

    users: Sequence[str]
    event_ids: Sequence[str | None]
    types: NDArray[np.uint8]  # codes
    times: Ints  # milliseconds since the epoch, as the publisher says
    verdicts: NDArray[np.uint8]  # on these times
    partitions: Ints
    offsets: Ints
    history_lengths: Ints  # of the user, after the event


class _Heads(NamedTuple):
    """`SourceEvents`, for the loop."""

    users: Strings
    event_ids: Strings
    version: Bytes
    types: NDArray[np.uint8]
    times: Ints
    verdicts: NDArray[np.uint8]
    partitions: Ints
    offsets: Ints
    history_lengths: Ints
    namespace: Bytes  # of the ids, (16,)


class _Columns(NamedTuple):
    """Answers, for the loop."""

    next_type: Floats  # (N, K)
    kinds: NDArray[np.int64]  # (N, a)
    on_items: Ints  # (N, a); -1: on none
    chances: Floats  # (N, a)
    items: Ints  # (N, k); -1: no more
    scores: Floats  # (N, k)
    purchase: Floats  # (N,)


class PredictionEncoder:
    """Keeps the JSON of the item ids from batch to batch. Not for two threads at once."""

    def __init__(self, *, epoch: int, topic: str, recommendations: int, actions: int) -> None:
        """Stream epoch and topic of the events; how many recommendations and actions a prediction has, at most."""
        self._namespace = np.frombuffer(uuid5(UUID(int=0), f"nextact/{epoch}/{topic}").bytes, np.uint8)
        self._shown = recommendations
        self._actions = actions
        self._keep(())

    def encode(self, followed: SourceEvents, answers: Answers) -> Strings:
        """N predictions: what the answers say, each after the event that it follows.

        Raises `DataPathError` when a number is no probability: then the model's state cannot be trusted.
        """
        if answers.names is not self._names:
            self._keep(answers.names)
        heads = self._heads(followed, answers.version)
        kinds, places, chances = next_actions(answers, self._actions)
        columns = _Columns(
            next_type=answers.next_type,
            kinds=kinds,
            on_items=np.where(places < 0, -1, np.take_along_axis(answers.items, np.maximum(places, 0), 1)),
            chances=chances,
            items=answers.items[:, : self._shown],
            scores=answers.probabilities,
            purchase=answers.purchase,
        )
        text = np.empty(self._room(heads, columns), np.uint8)
        starts = np.zeros(len(columns.items) + 1, np.int64)
        if not _write(text, starts[1:], heads, columns, self._labels, _TYPES, _FLAGS):
            raise DataPathError(f"version {answers.version} gave a probability that is none")
        return frozen(text[: starts[-1]], starts)

    def _keep(self, names: Sequence[str]) -> None:
        self._names, self._labels = names, labels(names)
        self._lengths = np.append(np.diff(self._labels.starts), 0)  # the last one of -1: no item

    def _heads(self, followed: SourceEvents, version: str) -> _Heads:
        return _Heads(
            users=labels(followed.users),
            event_ids=labels(followed.event_ids),
            version=labels([version]).text,
            types=followed.types,
            times=followed.times,
            verdicts=followed.verdicts,
            partitions=followed.partitions,
            offsets=followed.offsets,
            history_lengths=followed.history_lengths,
            namespace=self._namespace,
        )

    def _room(self, heads: _Heads, columns: _Columns) -> int:
        numbers = columns.items.size + columns.on_items.size + columns.next_type.size
        ids = int(self._lengths[columns.items].sum() + self._lengths[columns.on_items].sum())
        once = len(columns.items) * (_PER_PREDICTION + len(heads.version))
        return numbers * _PER_NUMBER + once + ids + len(heads.users.text) + len(heads.event_ids.text)


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
def _integer(out: Bytes, at: int, value: int) -> int:
    if value < 0:
        out[at] = _DASH
        at, value = at + 1, -value
    digits, rest = 1, value // 10
    while rest:
        digits, rest = digits + 1, rest // 10
    for digit in range(at + digits - 1, at - 1, -1):
        out[digit] = _ZERO + value % 10
        value //= 10
    return at + digits


@compiled
def _id(
    out: Bytes, at: int, namespace: Bytes, partition: int, offset: int, block: Bytes, words: NDArray[np.uint64]
) -> int:
    """Writes the UUIDv5 of a name in a namespace; `block` (64,) and `words` (80,) are room."""
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
    """SHA-1 (FIPS 180-4) of one padded block (64,); its five words are the first of `words` (80,) afterwards."""
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
def _head(
    out: Bytes, at: int, n: int, heads: _Heads, types: Strings, flags: Strings, block: Bytes, words: NDArray[np.uint64]
) -> int:
    """Writes which event prediction n follows, and who made it."""
    at = copy(out, at, _ID)
    at = _id(out, at, heads.namespace, heads.partitions[n], heads.offsets[n], block, words)
    at = copy_string(out, copy(out, at, _USER), heads.users, n)
    at = copy_string(out, copy(out, at, _EVENT), heads.event_ids, n)
    at = copy_string(out, copy(out, at, _EVENT_TYPE), types, heads.types[n])
    at = _integer(out, copy(out, at, _TIME), heads.times[n])
    at = _integer(out, copy(out, at, _PARTITION), heads.partitions[n])
    at = _integer(out, copy(out, at, _OFFSET), heads.offsets[n])
    at = copy(out, copy(out, at, _VERSION), heads.version)
    at = _integer(out, copy(out, at, _LENGTH), heads.history_lengths[n])
    if heads.verdicts[n]:
        at = copy_string(out, copy(out, at, _FLAG), flags, heads.verdicts[n])
    return at


@compiled
def _answer(out: Bytes, at: int, n: int, answers: _Columns, ids: Strings, types: Strings) -> int:
    """Writes what answer n says; a negative position says that a number was no probability."""
    at = copy(out, at, _NEXT_TYPE)
    for kind in range(answers.next_type.shape[1]):
        at = copy_string(out, at, types, kind)
        out[at] = _COLON
        at = _number(out, at + 1, answers.next_type[n, kind])
        if at < 0:
            return -1
        out[at] = _COMMA
        at += 1
    at = copy(out, at - 1, _ACTIONS)
    before = at
    for action in range(answers.kinds.shape[1]):
        if answers.chances[n, action] <= 0:
            break
        at = copy(out, at, _TYPE)
        at = copy_string(out, at, types, answers.kinds[n, action])
        at = _number(out, copy(out, at, _PROBABILITY), answers.chances[n, action])
        if at < 0:
            return -1
        if answers.on_items[n, action] >= 0:
            at = copy_string(out, copy(out, at, _ITEM), ids, answers.on_items[n, action])
        out[at], out[at + 1] = _CLOSE, _COMMA
        at += 2
    at = copy(out, at - (at > before), _RECOMMENDATIONS)
    before = at
    for place in range(answers.items.shape[1]):
        if answers.items[n, place] < 0:
            break
        at = copy_string(out, copy(out, at, _ITEM_FIRST), ids, answers.items[n, place])
        at = _number(out, copy(out, at, _SCORE), answers.scores[n, place])
        if at < 0:
            return -1
        out[at], out[at + 1] = _CLOSE, _COMMA
        at += 2
    at = _number(out, copy(out, at - (at > before), _PURCHASE), answers.purchase[n])
    if at < 0:
        return -1
    out[at] = _CLOSE
    return at + 1


@compiled
def _write(
    out: Bytes, ends: Ints, heads: _Heads, answers: _Columns, ids: Strings, types: Strings, flags: Strings
) -> bool:
    """Writes N predictions; `ends` (N,) says where. Returns whether all numbers were probabilities."""
    block, words = np.empty(64, np.uint8), np.empty(80, np.uint64)
    at = 0
    for n in range(len(ends)):
        at = _head(out, at, n, heads, types, flags, block, words)
        at = _answer(out, at, n, answers, ids, types)
        if at < 0:
            return False
        ends[n] = at
    return True
