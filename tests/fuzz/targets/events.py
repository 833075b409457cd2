"""Events: any record becomes an event or a rejection; an event becomes a row of the history, actions and a prediction.

An input: a byte with the length of the key (255: the key is the user id in the value), eight bytes of the record's
timestamp, the key, the value. Python's own JSON reader is the oracle of what the fields say, in all formats.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from model.data.event_time import FLAGS, judge_times
from model.data.events import ARRAYS, EVENT_TYPES, TYPE_CODES, Event, actions_of
from model.serving.answers import RANKED, Answers
from stream_app.contract.dead_letters import dead_letter, read_dead_letter
from stream_app.contract.decoded import REASONS
from stream_app.contract.event_names import IDENTITY_NAMES, SHOWN_NAMES, TYPE_NAMES
from stream_app.contract.events import decode_batch
from stream_app.contract.formats.options import DecodeOptions
from stream_app.contract.prediction_json import PredictionEncoder, SourceEvents
from stream_app.contract.predictions import decode_prediction
from stream_app.contract.records import OutgoingRecord
from stream_app.contract.topics import LARGEST_DEAD_LETTER
from stream_app.history.rows import ACTION_COLUMNS, actions_in, rows_of
from stream_app.kafka.encoded_batch import encode_records
from stream_app.settings import EventFormat
from tests.fuzz.targets.records import record_of
from tests.unit.builders.basics import words_of_searches
from tests.unit.builders.format_samples import samples
from tests.unit.builders.plain_formats import PlainReading, everything_said

_OWN_KEY: Final = 255  # in the place of the key's length: the first of these ids in the value
_IDS: Final = ("user_id", "userId", "anonymousId", "client_id", "user_pseudo_id", "app_instance_id")
_FRONT: Final = struct.Struct(">Bq")
_ITEMS: Final = ("item", 'quo"te', "\N{SNOWMAN}\x00\x7f")
_TIME: Final = 1_700_000_000_000

FORMATS: Final[Sequence[EventFormat]] = ("nextact", "segment", "ga4", "ubi")

_ENCODER: Final = PredictionEncoder(epoch=1, topic="shop.events", recommendations=2, actions=3)


def _answers() -> Answers:
    random = np.random.default_rng(0)
    items = np.full((1, RANKED), -1, np.int64)
    items[0, : len(_ITEMS)] = range(len(_ITEMS))
    return Answers(
        version="v1",
        names=_ITEMS,
        items=items,
        probabilities=np.where(items >= 0, 0.25, 0).astype(np.float32),
        next_type=random.dirichlet(np.ones(len(EVENT_TYPES)), 1).astype(np.float32),
        type_given_item=random.dirichlet(np.ones(len(EVENT_TYPES)), (1, RANKED)).astype(np.float32),
        purchase=np.array([0.5], np.float32),
    )


_ANSWERS: Final = _answers()


def check(data: bytes) -> None:
    """Decodes a record and takes what comes out through the program."""
    record = _record(data)
    decoded = decode_batch([record])
    others = len(decoded.ignored) + len(decoded.shown) + len(decoded.identities)
    assert bool(decoded.rejected) != bool(decoded.events or others)
    for format in FORMATS:
        alone = decode_batch([record], options=DecodeOptions(format=format))
        assert bool(alone.rejected) != bool(alone.events or alone.ignored or alone.shown or alone.identities)
    if decoded.rejected:
        _check_rejection(decoded.rejected[0], record)
        return
    said = json.loads(record.value.decode(errors="replace"), strict=False)  # unknown fields may hold any bytes
    key = (record.key or b"").decode(errors="replace")
    assert everything_said(decoded) == PlainReading(said, key, record.timestamp).says
    _check_row(decoded)
    for event, time in zip(decoded.events, decoded.times, strict=True):
        _check_event(event, time, record)
    if decoded.events:
        _check_prediction(decoded.events[0], decoded.times[0], record.timestamp)


def _record(data: bytes) -> Any:
    length, time = _FRONT.unpack(data[: _FRONT.size].ljust(_FRONT.size, b"\0"))
    rest = data[_FRONT.size :]
    if length != _OWN_KEY:
        return record_of(OutgoingRecord(rest[:length], rest[length:]), timestamp=time)
    try:
        said = json.loads(rest.decode(errors="replace"), strict=False)
        key = str(next(filter(None, map(said.get, _IDS)))).encode()
    except Exception:
        key = b"u"
    return record_of(OutgoingRecord(key, rest), timestamp=time)


def _check_event(event: Event, time: int, record: Any) -> None:
    assert event.user_id.encode() == record.key
    assert 1 <= len(event.user_id) <= 256
    assert event.type in TYPE_CODES
    assert event.items is None
    assert event.query is not None if event.type == "search" else 1 <= len(event.item_id or "") <= 256
    assert abs(time) < 2**63


def _check_row(decoded: Any) -> None:
    """The history gives the same actions as the stream."""
    rows = rows_of(3, [3], decoded)
    times, _ = judge_times(decoded.times, decoded.record_times)
    actions, stored = actions_of(decoded.events, times, decoded.lines), actions_in(rows.select(ACTION_COLUMNS))
    assert words_of_searches(actions) == words_of_searches(stored)
    for name in ("users", "items", *ARRAYS):
        left, right = getattr(actions, name), getattr(stored, name)
        assert np.array_equal(left, right, equal_nan=name == "amounts"), name


def _check_prediction(event: Event, time: int, record_time: int) -> None:
    _, verdicts = judge_times([time], [record_time])
    source = SourceEvents(
        users=[event.user_id],
        event_ids=[event.event_id],
        types=np.array([TYPE_CODES[event.type]], np.uint8),
        times=np.array([time]),
        verdicts=verdicts,
        partitions=np.array([3]),
        offsets=np.array([3]),
        positions=np.array([3]),
        history_lengths=np.array([1]),
    )
    value = _ENCODER.encode(source, _ANSWERS).text.tobytes()
    prediction = decode_prediction(value)
    assert prediction.user_id == event.user_id
    assert prediction.event_id == event.event_id
    assert prediction.event_type == event.type
    assert prediction.event_timestamp == time
    assert prediction.event_time_flag == FLAGS[verdicts[0]]
    assert json.loads(value)["user_id"] == event.user_id


def _check_rejection(rejection: Any, record: Any) -> None:
    assert rejection.reason in REASONS
    assert rejection.position == 0
    assert len(rejection.message) < 1000
    letter = dead_letter(record, rejection)
    (batch,) = encode_records([letter])
    assert len(batch.data) <= LARGEST_DEAD_LETTER
    read = read_dead_letter(record_of(letter))
    assert (read.key, read.value) == (record.key, record.value)


def seeds() -> list[bytes]:
    """Returns events of every type and name, with every field, and records that are not events."""
    full = {
        "user_id": "u", "item_id": "i", "query": "red shoes", "event_id": "e", "session_id": "s", "category": "c",
        "brand": "b", "currency": "EUR", "price": 12.5, "quantity": -1, "other": [{}, None, True, 1e5],
    }  # fmt: skip
    times: list[Any] = [_TIME, 1.5e12, -1, 10**15, "2026-01-31t12:00:00.5z", "2026-01-31T12:00:00+23:59", "now", None]
    times += ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-31T12:00:00", 1e300, ""]
    values: list[Any] = [{**full, "type": kind} for kind in TYPE_NAMES]
    values += [{"user_id": "u", "type": "VIEW", "item_id": "i", "timestamp": time} for time in times]
    values += [{"user_id": '\N{SNOWMAN}\0\U0001f600"\\', "type": "search", "query": "Straße É"}]
    lines = [{"item_id": "a", "price": 1, "quantity": 2}, {"item_id": "b", "brand": "c"}, {"item_id": ""}, {}, 3, "x"]
    values += [{**full, "type": kind, "items": lines[:2]} for kind in ("purchase", "search")]
    values += [{"user_id": "u", "type": "cart", "items": [line]} for line in lines]
    values += [{"user_id": "u", "type": "view"}, {"user_id": 3, "type": "view"}, {"type": "view"}, [], 1, None, "x"]
    values += [{"user_id": "u", "type": "view", "item_id": "i", name: -1} for name in ("price", "quantity")]
    found = [_input(json.dumps(value).encode()) for value in values]
    found += [_input(value) for value in (b"", b"{", b"\xff", b"[" * 2000, b'{"user_id":"\\ud800","type":"view"}')]
    found += [_input(sample.value, key) for sample in samples() for key in (None, sample.key, b"v")]
    plain = b'{"user_id":"u","type":"view","item_id":"i"}'
    return [b"", *found, _input(plain, b"u"), _input(plain, b"v"), _input(plain, b""), _input(plain, time=-1)]


def _input(value: bytes, key: bytes | None = None, time: int = _TIME) -> bytes:
    return _FRONT.pack(_OWN_KEY if key is None else len(key), time) + (key or b"") + value


TOKENS: Final[Sequence[bytes]] = [
    *(f'"{name}":'.encode() for name in Event.__struct_fields__),
    *(f'"{name}"'.encode() for name in TYPE_NAMES),
    *(f'"{name}"'.encode() for name in (*SHOWN_NAMES, *IDENTITY_NAMES, "page_view", "track", "page")),
    b'"items":[{"item_id":"a"}]', b'"events":[{"name":"view_item","params":{"items":[]}}]', b'"properties":{"sku":7}',
    b'"event_name":', b'"action_name":', b'"userId":', b'"(not set)"', b'"1.5"',
    b"null", b"true", b"1e308", b"1e400", b"-0.0", b"18446744073709551616", b'"\\ud800"', b"\\u0000",
    b'"2026-01-31T12:00:00Z"', b"9007199254740993", b"NaN",
]  # fmt: skip
