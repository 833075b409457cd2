"""Writes the predictions of a batch as JSON in one compiled loop; Python would take most of the interpreter's time.

Probabilities have six decimals.
Shapes: N predictions, k recommended items, a actions, K event types.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.data.event_time import FLAGS
from model.data.events import EVENT_TYPES
from model.kernels.compiled import Floats, compiled
from model.serving.answers import Answers, choose
from stream_app.contract.json_numbers import integer, probability
from stream_app.contract.prediction_ids import Sha1Scratch, namespace_of, new_scratch, prediction_id
from stream_app.contract.string_columns import (
    Bytes,
    GrowingStrings,
    Ints,
    Strings,
    copy,
    copy_line,
    copy_string,
    frozen,
    lines,
    strings,
)
from stream_app.errors import DataPathError

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
_COMMA, _COLON, _CLOSE = (ord(character) for character in ",:}")
_ENCODER: Final = msgspec.json.Encoder()


def json_strings(names: Sequence[str | None]) -> Strings:
    """Returns the JSON of strings, null for None, as a column."""
    return strings(list(map(_ENCODER.encode, names)))


def _json_lines(names: Sequence[str | None]) -> Bytes:
    """Returns the JSON of strings, null for None, each on a line of its own."""
    return np.frombuffer(_ENCODER.encode_lines(names), np.uint8)


@lru_cache(maxsize=4)  # of a canary's two versions, and of those before a promotion
def _version_json(version: str) -> Bytes:
    return json_strings([version]).text


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

    ids: Bytes  # 2N lines: the users' ids, then the events'
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
    """`Answers` as the compiled loop takes them, and how much of them it writes."""

    next_type: Floats  # (N, K)
    items: Ints  # (N, k), indices into the model's names; -1: no more items
    scores: Floats  # (N, k)
    type_given_item: Floats  # (N, k, K)
    purchase: Floats  # (N,)
    profiles: Strings  # (N,), what else is said, as it stands at the end
    recommendations: int
    actions: int


class ItemNames:
    """The JSON of a version's item ids, which may become more."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names  # the version's own: known by identity, as comparing them would take too long
        self._json = GrowingStrings()
        self.longest = 0  # bytes

    def json(self) -> Strings:
        """The JSON of all ids that there are now, by number."""
        known = len(self._json)
        if known < len(self.names):
            fresh = json_strings(self.names[known:])
            self.longest = max(self.longest, int(np.diff(fresh.starts).max()))
            self._json.add(fresh)
        return self._json.column()


class _Labels(NamedTuple):
    """The JSON of all that has a number: items by their index in the model's names, event types and flags."""

    items: Strings
    longest: int  # bytes of an item
    types: Strings
    flags: Strings


class _BestActions(NamedTuple):
    """The most probable actions of one answer, a of them, best first."""

    types: Ints
    columns: Ints  # of the ranked items; -1: an action without an item
    probabilities: Floats  # 0: no more actions


class PredictionEncoder:
    """Encodes predictions and keeps the JSON of item ids from batch to batch, of two versions while a canary runs.

    Not for two threads at once.
    """

    def __init__(self, *, epoch: int, topic: str, recommendations: int, actions: int) -> None:
        """`epoch` and `topic` of the events; a prediction has at most so many recommendations and actions."""
        self._namespace = namespace_of(epoch, topic)
        self._recommendations = recommendations
        self._actions = actions
        self._items: list[ItemNames] = []

    def keep(self, serving: Collection[Sequence[str]]) -> None:
        """Forgets the item ids of all versions but those that serve, given by their names of items."""
        known = set(map(id, serving))
        self._items = [items for items in self._items if id(items.names) in known]

    def encode(self, events: SourceEvents, answers: Answers, profiles: Sequence[Strings] = ()) -> Strings:
        """Returns the JSON of N predictions: each event with the answer to it.

        `profiles` are columns (N,) of more fields for their ends: JSON that begins with a comma, or nothing.

        Raises `DataPathError` when a number is not a probability: then the model's state cannot be trusted.
        """
        columns = _AnswerColumns(
            next_type=answers.next_type,
            items=answers.items,
            scores=answers.probabilities,
            type_given_item=answers.type_given_item,
            purchase=answers.purchase,
            profiles=_in_one(profiles, len(answers.purchase)),
            recommendations=self._recommendations,
            actions=self._actions,
        )
        items = self.items_of(answers.names)
        labels = _Labels(items.json(), items.longest, _TYPES, _FLAGS)
        text, starts = _write(self._event_columns(events, answers.version), columns, labels)
        if not len(starts):
            raise DataPathError(
                f"version {answers.version} gave a number that is not a probability (NaN, or not from 0 to 1)"
            )
        return frozen(text, starts)

    def items_of(self, names: Sequence[str]) -> ItemNames:
        """Returns the JSON of a version's item ids."""
        for items in self._items:
            if items.names is names:
                return items
        items = ItemNames(names)
        self._items = [*self._items[-1:], items]
        return items

    def _event_columns(self, events: SourceEvents, version: str) -> _EventColumns:
        return _EventColumns(
            ids=_json_lines([*events.users, *events.event_ids]),
            version=_version_json(version),
            types=events.types,
            times=events.times,
            verdicts=events.verdicts,
            partitions=events.partitions,
            offsets=events.offsets,
            positions=events.positions,
            history_lengths=events.history_lengths,
            namespace=self._namespace,
        )


def _in_one(columns: Sequence[Strings], n: int) -> Strings:
    """Returns columns (N,) as one: each of its strings is those of a row."""
    joined = columns[0] if columns else frozen(np.zeros(0, np.uint8), np.zeros(n + 1, np.int64))
    for column in columns[1:]:
        joined = frozen(*_side_by_side(joined, column))
    return joined


@compiled
def _side_by_side(first: Strings, second: Strings) -> tuple[Bytes, Ints]:
    out = np.empty(len(first.text) + len(second.text), np.uint8)
    starts, at = np.zeros(len(first.starts), np.int64), 0
    for n in range(len(starts) - 1):
        at = copy_string(out, copy_string(out, at, first, n), second, n)
        starts[n + 1] = at
    return out, starts


@compiled
def _most_bytes(events: _EventColumns, answers: _AnswerColumns, labels: _Labels) -> int:
    """Returns how many bytes the predictions take at most."""
    once = _PER_PREDICTION + len(events.version) + answers.next_type.shape[1] * _PER_NUMBER
    items = (answers.recommendations + answers.actions) * (_PER_NUMBER + labels.longest)
    return len(events.types) * (once + items) + len(events.ids) + len(answers.profiles.text)  # type: ignore[no-any-return]


@compiled
def _write_event(
    out: Bytes, at: int, n: int, events: _EventColumns, ids: Strings, labels: _Labels, scratch: Sha1Scratch
) -> int:
    """Writes the fields of prediction n about its event and the version that made it; returns where they end.

    `ids` are the lines of the events' ids.
    """
    at = copy(out, at, _ID)
    at = prediction_id(out, at, events.namespace, events.partitions[n], events.positions[n], scratch)
    at = copy_line(out, copy(out, at, _USER), ids, n)
    at = copy_line(out, copy(out, at, _EVENT), ids, len(events.types) + n)
    at = copy_string(out, copy(out, at, _EVENT_TYPE), labels.types, events.types[n])
    at = integer(out, copy(out, at, _TIME), events.times[n])
    at = integer(out, copy(out, at, _PARTITION), events.partitions[n])
    at = integer(out, copy(out, at, _OFFSET), events.offsets[n])
    at = copy(out, copy(out, at, _VERSION), events.version)
    at = integer(out, copy(out, at, _LENGTH), events.history_lengths[n])
    if events.verdicts[n]:
        at = copy_string(out, copy(out, at, _FLAG), labels.flags, events.verdicts[n])
    return at


@compiled
def _write_answer(out: Bytes, at: int, n: int, answers: _AnswerColumns, best: _BestActions, labels: _Labels) -> int:
    """Writes the fields of answer n and returns where they end, or -1 if a number is not a probability."""
    at = copy(out, at, _NEXT_TYPE)
    for kind in range(answers.next_type.shape[1]):
        at = copy_string(out, at, labels.types, kind)
        out[at] = _COLON
        at = probability(out, at + 1, answers.next_type[n, kind])
        if at < 0:
            return -1
        out[at] = _COMMA
        at += 1
    at = copy(out, at - 1, _ACTIONS)
    before = at
    for action in range(len(best.types)):
        if best.probabilities[action] <= 0:
            break
        at = copy_string(out, copy(out, at, _TYPE), labels.types, best.types[action])
        at = probability(out, copy(out, at, _PROBABILITY), best.probabilities[action])
        if at < 0:
            return -1
        column = best.columns[action]
        if column >= 0 and answers.items[n, column] >= 0:
            at = copy_string(out, copy(out, at, _ITEM), labels.items, answers.items[n, column])
        out[at], out[at + 1] = _CLOSE, _COMMA
        at += 2
    at = copy(out, at - (at > before), _RECOMMENDATIONS)
    before = at
    for rank in range(min(answers.recommendations, answers.items.shape[1])):
        if answers.items[n, rank] < 0:
            break
        at = copy_string(out, copy(out, at, _ITEM_FIRST), labels.items, answers.items[n, rank])
        at = probability(out, copy(out, at, _SCORE), answers.scores[n, rank])
        if at < 0:
            return -1
        out[at], out[at + 1] = _CLOSE, _COMMA
        at += 2
    at = probability(out, copy(out, at - (at > before), _PURCHASE), answers.purchase[n])
    if at < 0:
        return -1
    at = copy_string(out, at, answers.profiles, n)
    out[at] = _CLOSE
    return at + 1


@compiled
def _new_scratch(answers: _AnswerColumns) -> tuple[Sha1Scratch, _BestActions]:
    """Returns memory for one prediction."""
    _, ranked, types = answers.type_given_item.shape
    most = min(answers.actions, ranked * types + 1)
    best = _BestActions(np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float32))
    return new_scratch(), best


@compiled
def _write(events: _EventColumns, answers: _AnswerColumns, labels: _Labels) -> tuple[Bytes, Ints]:
    """Writes N predictions one behind the other; returns them and where each begins and the last ends (N + 1,).

    Returns nothing at all, not even where the first begins, when a number is not a probability.
    """
    out = np.empty(_most_bytes(events, answers, labels), np.uint8)
    starts, ids = np.zeros(len(events.types) + 1, np.int64), lines(events.ids, 2 * len(events.types))
    scratch, best = _new_scratch(answers)
    at = 0
    for n in range(len(events.types)):
        answer = answers.next_type[n], answers.scores[n], answers.type_given_item[n]
        choose(*answer, best.types, best.columns, best.probabilities)
        at = _write_event(out, at, n, events, ids, labels, scratch)
        at = _write_answer(out, at, n, answers, best, labels)
        if at < 0:
            return out[:0], starts[:0]
        starts[n + 1] = at
    return out[:at], starts
