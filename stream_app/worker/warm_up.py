"""Takes made-up batches through a pipeline of its own, of every kind that a stream has, before the first real one.

So code is compiled or read from disk, memory is there and the device works before an event waits for it. The users'
states are not touched.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import msgspec
import numpy as np
import torch
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from model.data.events import EVENT_TYPES, TYPE_CODES, item_key
from model.data.query_table import QueryTable
from model.errors import VersionRefused, one_line
from model.serving.canary import Canary
from model.serving.serving import Serving
from model.serving.state_engine import StateEngine
from model.state.past_users import PAST_ACTION, past_users
from stream_app.contract.events import decode_batch
from stream_app.contract.joins import encode_join, imported_past
from stream_app.contract.records import UnreadableBatch
from stream_app.pipeline.asking import NOWHERE, SOMEBODY, AskingPipeline
from stream_app.pipeline.batch_result import BatchResult
from stream_app.pipeline.batches import Records
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.joins.effects import OutgoingJoin
from stream_app.pipeline.joins.fetched import JoinsFetch
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import Settings

LARGE: Final = 512  # records of a batch that is worth several ranking threads
_USERS: Final = 48  # made up: those of a large batch come several times
_ITEMS: Final = 200  # at most, made up or of the catalogue
_BEGIN_MS: Final = 1_700_000_000_000  # time of the first event, ms since the epoch
_APART_MS: Final = 7_000  # time between two events
_SPOILT: Final = (None, b"", b"{", b"[]", b'{"user_id":"w0","type":"view"}')  # values of records that are not events


def warm_up(settings: Settings, device: torch.device, serving: Serving | None) -> None:
    """Processes batches by the rules, then by a version if there is one. Raises what the device raises."""
    store = _MadeUpStore()
    engine = new_engine(settings, device, store.read)
    metrics = WorkerMetrics(CollectorRegistry())
    pipeline = AskingPipeline(engine, settings, metrics, time.perf_counter)
    stream = _MadeUpStream(serving.vocabulary.items[:_ITEMS] if serving else (), settings.partitions)
    if serving is not None:
        process(pipeline, stream.take(2))
        engine.serve(serving)
        metrics.versions.begin([serving.name])
    _process_all(engine, pipeline, stream, store)
    if settings.joins and settings.write_format == "current":
        _join(pipeline, stream)
    if serving is not None:
        engine.serve(serving, Canary(serving, 0.5))
        process(pipeline, stream.take(16))
    ask(pipeline, stream)


def try_version(settings: Settings, device: torch.device, serving: Serving) -> None:
    """Has a version answer made-up events from end to end, before it serves real ones.

    So what only it needs is compiled, and a version that cannot answer is found out. Raises `VersionRefused` (warm_up).
    """
    try:
        engine = new_engine(settings, device)
        pipeline = AskingPipeline(engine, settings, WorkerMetrics(CollectorRegistry()), time.perf_counter)
        engine.serve(serving)
        stream = _MadeUpStream(serving.vocabulary.items[:_ITEMS], settings.partitions)
        for records in (1, 16, 2):
            process(pipeline, stream.take(records))
        ask(pipeline, stream)
    except Exception as error:
        raise VersionRefused("warm_up", f"{serving.name} does not answer made-up events: {one_line(error)}") from error


def process(pipeline: Pipeline, records: Records) -> list[BatchResult]:
    """Takes a batch through all stages; returns its effects."""
    return pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode(records, 0))))


def ask(pipeline: AskingPipeline, stream: _MadeUpStream) -> None:
    """Asks all that is asked about users without an event of theirs, and about items."""
    if pipeline.is_serving:
        pipeline.take_session(decode_batch(stream.take(4)))
        pipeline.related(item_key(stream.item), 4)
    pipeline.asked([NOWHERE], [SOMEBODY])
    pipeline.scored([NOWHERE], [SOMEBODY], [np.array([item_key(stream.item), 1], np.uint64)])


def _process_all(engine: StateEngine, pipeline: Pipeline, stream: _MadeUpStream, store: _MadeUpStore) -> None:
    run = partial(process, pipeline)
    for size in (1, 1, 2, 4, 8, 16, 32, 64):
        store.keep(run(stream.take(size)))
    run(stream.spoilt())
    run([*stream.take(4), *stream.spoilt()])
    run([])
    replayed = stream.take(16)
    store.keep(run(replayed))
    run(replayed)
    run([*replayed[:4], *stream.take(2)])
    store.keep(run(stream.take(LARGE)))
    engine.states.searches.forget(engine.states.histories.rings)
    engine.clear()  # users come back from the store
    run(stream.take(1))
    run(stream.take(LARGE))


def _join(pipeline: Pipeline, stream: _MadeUpStream) -> None:
    """Has a user's sequence go over to another one of the same partition, where there is one, and brings in a past."""
    pipeline.joins = True
    stepped = pipeline.step(pipeline.decode([stream.identity()], 0))
    pipeline.encode(pipeline.answer(stepped))
    outgoing = stepped.joins.outgoing if stepped.joins is not None else []
    fetches = [JoinsFetch(join.partition, [stream.join(join)]) for join in outgoing]
    for read in (fetches, [JoinsFetch(0, [stream.past()])]):
        pipeline.encode(pipeline.answer(pipeline.step(pipeline.decode_joins(read, 0))))


class _MadeUpStore:
    """Stands for the local store."""

    def __init__(self) -> None:
        self._records: dict[tuple[int, str], bytes] = {}

    def keep(self, results: Iterable[BatchResult]) -> None:
        """Keeps the users' states of a batch."""
        for result in results:
            self._records |= {(result.partition, key.decode()): value for key, value in result.states}

    def read(self, partition: int, users: Sequence[str]) -> dict[str, bytes]:
        """Returns the records of those users whom it has."""
        keys = ((partition, user) for user in users)
        return {user: self._records[partition, user] for _, user in keys if (partition, user) in self._records}


class _MadeUpStream:
    """Records of all partitions, as they come."""

    def __init__(self, items: Sequence[str], partitions: int) -> None:
        self._items = items or [f"warm-up-{number}" for number in range(_ITEMS)]
        self._offsets = [0] * partitions
        self._number = 0

    @property
    def item(self) -> str:
        """One of its items."""
        return self._items[0]

    def take(self, count: int) -> list[ConsumerRecord[bytes, bytes]]:
        """Returns the next records, events all of them."""
        return [self._event() for _ in range(count)]

    def spoilt(self) -> list[ConsumerRecord[bytes, bytes]]:
        """Returns one record of each kind that is not an event."""
        made = [self._record(0, b"w0", value) for value in _SPOILT]
        offset = self._offset(0)
        empty = (None, None, None, -1, -1, ())
        return [*made, UnreadableBatch("warm-up", 0, offset, _BEGIN_MS, 0, *empty, first_offset=offset)]

    def identity(self) -> ConsumerRecord[bytes, bytes]:
        """Returns a record that says that a user of the first partition is another one."""
        said = {"type": "identify", "user_id": f"w{len(self._offsets)}", "anonymous_id": "w0"}
        return self._record(0, b"w0", msgspec.json.encode(said))

    def join(self, join: OutgoingJoin) -> ConsumerRecord[bytes, bytes]:
        """Returns a record of the joins."""
        return self._record(join.partition, join.key, join.value)

    def past(self) -> ConsumerRecord[bytes, bytes]:
        """Returns a record of the joins topic, with the past of two users: one has been here, one comes."""
        actions = np.zeros(6, PAST_ACTION)
        actions["user"], actions["number"] = np.arange(6) % 2, np.arange(6)
        actions["time"], actions["event_id"] = _BEGIN_MS - _APART_MS * np.arange(6), np.arange(6)
        actions["type"] = TYPE_CODES["view"]
        past = past_users(actions, ["w0", "past"], QueryTable(), 2)
        return self._record(0, b"w0", encode_join(imported_past(past, 1, 6)))

    def _event(self) -> ConsumerRecord[bytes, bytes]:
        number = self._number
        self._number += 1
        user, kind = f"w{number % _USERS}", EVENT_TYPES[number % 3 and number % len(EVENT_TYPES)]
        event: dict[str, object] = {"user_id": user, "type": kind, "timestamp": _BEGIN_MS + _APART_MS * number}
        if kind == "search":
            event["query"] = "warm up"
        else:
            event["item_id"] = self._items[number * 7 % len(self._items)]
        if number % 4:
            same_as = number - _USERS * (number % 32 == 21)  # some have the id of the user's event before
            event |= {"event_id": str(same_as), "category": "warm", "brand": "up", "price": 1.5, "session_id": user}
        return self._record(number % _USERS % len(self._offsets), user.encode(), msgspec.json.encode(event))

    def _record(self, partition: int, key: bytes, value: bytes | None) -> ConsumerRecord[bytes, bytes]:
        time_ms, sizes = _BEGIN_MS + _APART_MS * self._number, (len(key), -1 if value is None else len(value))
        return ConsumerRecord("warm-up", partition, self._offset(partition), time_ms, 0, key, value, None, *sizes, ())

    def _offset(self, partition: int) -> int:
        offset = self._offsets[partition]
        self._offsets[partition] += 1
        return offset
