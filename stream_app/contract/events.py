"""Decodes records of the events topic, or says why a record is not an event.

nextact's own plain events are decoded here, at once; what is not one of them shows its format by its shape, and goes
to the module of that format. Predictions go the other way, to bytes, in `prediction_json`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from model.data.events import EVENT_TYPES, Event, Line
from stream_app.contract.decoded import Contents, DecodedBatch, RejectedRecord, Rejection
from stream_app.contract.event_fields import DECODE_ERRORS, check_key, check_numbers, milliseconds, undecodable
from stream_app.contract.event_names import TYPE_NAMES
from stream_app.contract.formats.ga4 import decode_ga4
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.formats.own import decode_identity, decode_shown
from stream_app.contract.formats.segment import decode_segment
from stream_app.contract.formats.shape import SEGMENT_CALLS, Shape, shape_of
from stream_app.contract.formats.ubi import decode_ubi
from stream_app.contract.records import Record, UnreadableBatch

LARGEST_EVENT: Final = 256 * 1024  # bytes; no real event is larger, and one must not hold up a batch

_EVENT_DECODER: Final = msgspec.json.Decoder(Event)
_DEFAULTS: Final = DecodeOptions()
_OTHER_FORMATS: Final = {"segment": decode_segment, "ga4": decode_ga4, "ubi": decode_ubi}


def decode_batch(
    records: Sequence[Record], most_lines: int = sys.maxsize, options: DecodeOptions = _DEFAULTS
) -> DecodedBatch:
    """Decodes and validates records; guesses nothing. Returns only the first `most_lines` actions of a record."""
    batch = DecodedBatch()
    shape_first = _is_foreign(records, options)
    plain_first = not shape_first and options.format not in _OTHER_FORMATS
    positions, events, lines, times, record_times = (
        batch.positions, batch.events, batch.lines, batch.times, batch.record_times
    )  # fmt: skip
    for position, record in enumerate(records):
        try:
            event = _plain_event(record.key, record.value) if plain_first else None
            if event is not None:
                time = record.timestamp if event.timestamp is None else milliseconds(event.timestamp)
                positions.append(position)
                events.append(event)
                lines.append(0)
                times.append(time)
                record_times.append(record.timestamp)
                continue
            contents = decode_event(record.key, record.value, record.timestamp, options, shape_first)
        except RejectedRecord as rejection:
            if isinstance(record, UnreadableBatch):
                batch.rejected.append(Rejection(position, record.reason, record.message))
            else:
                batch.rejected.append(Rejection(position, rejection.reason, str(rejection)))
            continue
        for line, action in enumerate(contents.actions[:most_lines]):
            positions.append(position)
            events.append(action)
            lines.append(line)
            times.append(contents.times[line])
            record_times.append(record.timestamp)
        if contents.ignored or contents.shown or contents.identities:
            _add_others(batch, position, contents)
    return batch


def _plain_event(key: bytes | None, value: bytes | None) -> Event | None:
    """Returns a plain event of one action, as most records are; None: `decode_event` says what it is.

    Raises `RejectedRecord` when a field is missing or not finite.
    """
    if not value or len(value) > LARGEST_EVENT:
        return None
    try:
        event = _EVENT_DECODER.decode(value)
    except DECODE_ERRORS:
        return None
    kind = TYPE_NAMES.get(event.type)
    if kind is None or event.items is not None or key != event.user_id.encode():
        return None
    if kind != event.type:
        event = msgspec.structs.replace(event, type=kind)
    _check_fields(event)
    return event


def _is_foreign(records: Sequence[Record], options: DecodeOptions) -> bool:
    """Returns whether the first record is in the format of another system, as then the others of the batch are."""
    value = records[0].value if records and options.format == "auto" else None
    if not value or len(value) > LARGEST_EVENT:
        return False
    try:
        return _other_format(shape_of(value), options) is not None
    except RejectedRecord:
        return False


def _add_others(batch: DecodedBatch, position: int, contents: Contents) -> None:
    """Adds what is no action."""
    batch.ignored.extend(contents.ignored)
    for shown in contents.shown:
        batch.shown.append(msgspec.structs.replace(shown, position=position))
    for identity in contents.identities:
        batch.identities.append(msgspec.structs.replace(identity, position=position))


def decode_event(
    key: bytes | None,
    value: bytes | None,
    record_time: int,
    options: DecodeOptions = _DEFAULTS,
    shape_first: bool = False,
) -> Contents:
    """Returns what a record says: its actions, one or one for each line, or what is no action.

    Types are under nextact's own names; times, like `record_time`, are in milliseconds since the epoch. `shape_first`
    is quicker for a record in the format of another system, and changes nothing else.
    Raises `RejectedRecord` when the record is not an event.
    """
    # One long function: each call within it would cost a plain event a twentieth of its time.
    if not value:
        raise RejectedRecord("empty", "the record has no value")
    if len(value) > LARGEST_EVENT:
        raise RejectedRecord("too_large", f"the value has {len(value)} bytes, more than {LARGEST_EVENT}")
    if options.format in _OTHER_FORMATS:
        return _OTHER_FORMATS[options.format](shape_of(value), key, value, record_time, options)
    if shape_first and (format := _other_format(shape := shape_of(value), options)):
        return _OTHER_FORMATS[format](shape, key, value, record_time, options)
    try:
        event = _EVENT_DECODER.decode(value)
    except DECODE_ERRORS as error:
        return _other(key, value, record_time, options, error)
    kind = TYPE_NAMES.get(event.type) or TYPE_NAMES.get(event.type.casefold())
    if kind is None:
        if event.type not in SEGMENT_CALLS and (contents := options.passed_over.get(event.type)):
            return contents
        return _other(key, value, record_time, options, None)
    if kind != event.type:
        event = msgspec.structs.replace(event, type=kind)
    if key != event.user_id.encode():
        check_key(key, event.user_id)
    time = record_time if event.timestamp is None else milliseconds(event.timestamp)
    if event.items is None:
        _check_fields(event)
        return Contents((event,), (time,))
    actions = _actions_of(event)
    return Contents(actions, (time,) * len(actions))


def _other(
    key: bytes | None, value: bytes, record_time: int, options: DecodeOptions, error: Exception | None
) -> Contents:
    """Returns what a record says that is not a plain event of nextact, `error` being why, if not by its type alone."""
    shape = shape_of(value)
    if options.format == "auto" and (format := _other_format(shape, options)):
        return _OTHER_FORMATS[format](shape, key, value, record_time, options)
    meaning = options.meaning(shape.type) if isinstance(shape.type, str) else None
    if meaning == "ignored":
        return options.passed_over[shape.type.casefold()]
    if meaning == "shown":
        return decode_shown(key, value, record_time)
    if meaning == "identify":
        return decode_identity(key, value, record_time)
    if error is not None:
        raise undecodable(value, error)
    known = f"type is {shape.type[:64]!r}, not one of {', '.join(EVENT_TYPES)}"
    raise RejectedRecord("unknown_type", f"{known}; NEXTACT_IGNORED_EVENTS can name what is to be passed over")


def _other_format(shape: Shape, options: DecodeOptions) -> str | None:
    """Returns the format of a record; None: it is nextact's own, as a known type with a user_id always is."""
    if isinstance(shape.type, str):
        if shape.is_segment_call:
            return "segment"
        if shape.user_id is not None and options.meaning(shape.type):
            return None
    if shape.is_ga4_request or shape.event_name is not None:
        return "ga4"
    return None if shape.action_name is None else "ubi"


def _actions_of(event: Event) -> Sequence[Event]:
    """Returns an event for each of an event's lines; a search has none, and an empty list says nothing."""
    if not event.items or event.type == "search":
        event = msgspec.structs.replace(event, items=None)
        _check_fields(event)
        return (event,)
    return [_action_of(event, line) for line in event.items]


def _action_of(event: Event, line: Line) -> Event:
    """Returns one line of an event as an event of its own."""
    action = msgspec.structs.replace(
        event,
        item_id=line.item_id,
        category=line.category,
        brand=line.brand,
        currency=line.currency or event.currency,
        price=line.price,
        quantity=line.quantity,
        items=None,
    )
    check_numbers(action)
    return action


def _check_fields(event: Event) -> None:
    if event.item_id is None and event.type != "search":
        raise RejectedRecord("missing_field", f"a {event.type} has no item_id")
    if event.query is None and event.type == "search":
        raise RejectedRecord("missing_field", "a search has no query")
    if event.price is not None or event.quantity is not None:
        check_numbers(event)
