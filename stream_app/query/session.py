"""Reads the events of a session that somebody asks about, as they would be read from the events topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from model.data.events import MOST_LINES
from stream_app.contract.decoded import DecodedBatch
from stream_app.contract.events import decode_batch
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.questions.answers import MOST_EVENTS
from stream_app.query.refusals import Refusal

_USER: Final = "-"  # stands in the events, which need an id; nobody is asked about by it
_FOR_OPERATORS: Final = "; NEXTACT_"  # begins what a message says of settings
_OWN_FORMAT: Final = DecodeOptions(format="nextact")


class _SessionRecord(NamedTuple):
    """An event as a record of the events topic."""

    offset: int
    timestamp: int  # milliseconds since the epoch
    key: bytes
    value: bytes


def read_session(events: Sequence[Mapping[str, Any]], now: int) -> DecodedBatch:
    """Returns what the events of a session say, the oldest first; those without a time of their own happen `now`, in
    milliseconds since the epoch. Of more than MOST_EVENTS actions, in baskets, the first events are left out.

    Raises `Refusal` that says which event is none, and why.
    """
    decoded = decode_batch(
        [_record(number, event, now) for number, event in enumerate(events)], MOST_LINES, _OWN_FORMAT
    )
    wrong = {number: _no_action(event) for number, event in enumerate(events)}
    wrong |= {rejected.position: rejected.message.partition(_FOR_OPERATORS)[0] for rejected in decoded.rejected}
    for number in sorted(wrong.keys() - decoded.positions):
        raise _refusal(number, wrong[number])
    return _last_actions(decoded)


def _no_action(event: Mapping[str, Any]) -> str:
    return f"{str(event.get('type'))[:64]!r} is not an action of a shopper"


def _record(number: int, event: Mapping[str, Any], now: int) -> _SessionRecord:
    if "user_id" in event:
        raise _refusal(number, "leave `user_id` out: nothing is stored of a session, and nobody's state is read")
    try:
        value = msgspec.json.encode({"user_id": _USER, **event})
    except (msgspec.EncodeError, OverflowError, UnicodeEncodeError, RecursionError) as error:
        raise _refusal(number, str(error)) from None
    return _SessionRecord(number, now, _USER.encode(), value)


def _last_actions(decoded: DecodedBatch) -> DecodedBatch:
    """Returns the last events that have MOST_EVENTS actions together, but the last event in any case."""
    count = len(decoded.events)
    if count <= MOST_EVENTS:
        return decoded
    first = next(at for at in range(count) if decoded.lines[at] == 0 and _fits(decoded, at))
    return DecodedBatch(
        decoded.positions[first:],
        decoded.events[first:],
        decoded.lines[first:],
        decoded.times[first:],
        decoded.record_times[first:],
    )


def _fits(decoded: DecodedBatch, first: int) -> bool:
    return len(decoded.events) - first <= MOST_EVENTS or decoded.positions[first] == decoded.positions[-1]


def _refusal(number: int, message: str) -> Refusal:
    return Refusal("bad_request", f"events[{number}]: {message}")
