"""What recovery makes of the changelog, a fetch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faust.tables.manager import TableManager
from faust.types import TP
from prometheus_client import CollectorRegistry

from model.serving.state_engine import StateEngine
from model.state.user_record import pack
from model.state.user_states import UserStates
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.settings import load_settings
from stream_app.worker.faust_table import UsersStore, UsersStoreParts
from stream_app.worker.faust_transport import FetchConsumer
from stream_app.worker.local_store import LocalStore
from tests.unit.builders.basics import make_states, unreadable_batch
from tests.unit.builders.consumers import EVENTS
from tests.unit.builders.consumers import run as with_consumer

SETTINGS = load_settings()
CHANGELOG = TP(SETTINGS.state_topic, 0)
Fetches = Callable[[], list[list[bytes | None]]]  # made when they are used: collecting waits for no compiled loop


def stored(offset: int, *, epoch: int = 1) -> bytes:
    """A user's record after the event at an offset."""
    states = make_states(epoch=epoch)
    snapshot = states.snapshot(states.slots_of([0], ["u"]))
    (record,) = pack(replace(snapshot, offsets=np.array([offset]), counts=np.array([offset])))
    return record


def users_store(local: LocalStore, states: UserStates, metrics: WorkerMetrics | None = None) -> UsersStore:
    parts = UsersStoreParts(
        engine=StateEngine(states, rules_share=0),
        store=local,
        settings=SETTINGS,
        metrics=metrics or WorkerMetrics(CollectorRegistry()),
        fail=pytest.fail,
    )
    return UsersStore("memory://", SimpleNamespace(), None, table_name="users", parts=parts)


def local_store(directory: Path) -> LocalStore:
    return LocalStore(directory, topic=SETTINGS.state_topic, epoch=1, clock=lambda: 0.0)


def fetched(values: list[bytes | None], first: int) -> Any:
    """A fetch of one user's records from an offset on, as Faust hands it to the store."""
    records = [SimpleNamespace(key=b"u", value=value, offset=first + n) for n, value in enumerate(values)]
    return SimpleNamespace(message=SimpleNamespace(tp=CHANGELOG, value=records, offset=first + len(values) - 1))


def recovered(directory: Path, *fetches: list[bytes | None], metrics: WorkerMetrics | None = None) -> UserStates:
    """States over the store after fetches of one user's records."""
    local = local_store(directory)
    local.open(0, 0, 1.0, "c")
    states = make_states(stored=local.read)
    store = users_store(local, states, metrics)
    offset = 0
    for values in fetches:
        store.apply_changelog_batch([fetched(values, offset)])
        offset += len(values)
        assert store.persisted_offset(CHANGELOG) == offset - 1
    states.slots_of([0], ["u"])
    local.stop()
    return states


@pytest.mark.parametrize(
    "fetches",
    [
        lambda: [[stored(3), stored(7)]],
        lambda: [[stored(7), stored(3)]],  # the second is of a worker that had lost the partition without knowing
        lambda: [[stored(7)], [stored(3)]],
        lambda: [[stored(9, epoch=0), stored(7)]],  # offsets of an older stream say nothing
    ],
)
def test_a_users_newest_record_counts_wherever_it_lies(tmp_path: Path, fetches: Fetches) -> None:
    states = recovered(tmp_path, *fetches())
    slot = states.slot(0, "u")
    assert slot is not None
    assert states.offsets[slot] == 7


def damaged(offset: int) -> bytes:
    return stored(offset)[:-1] + b"?"


@pytest.mark.parametrize(
    ("fetches", "wanted", "left_out"),
    [
        (lambda: [[stored(3), damaged(7)]], 3, 1),
        (lambda: [[stored(3)], [damaged(7)]], 3, 1),
        (lambda: [[damaged(7), stored(3)]], 3, 1),
        (lambda: [[damaged(7)], [stored(9)]], 9, 1),
        (lambda: [[stored(3), b"", b"no record"]], 3, 2),
    ],
)
def test_a_damaged_record_is_left_out_where_there_is_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fetches: Fetches, wanted: int, left_out: int
) -> None:
    registry = CollectorRegistry()
    states = recovered(tmp_path, *fetches(), metrics=WorkerMetrics(registry))
    assert states.offsets[states.slots_of([0], ["u"])].tolist() == [wanted]
    assert registry.get_sample_value("nextact_damaged_users_total") == left_out
    assert states.damaged == []
    (line,) = caplog.messages
    assert "partition 0 was left out" in line


def test_a_damaged_record_alone_ends_nothing(tmp_path: Path) -> None:
    states = recovered(tmp_path, [damaged(7)])
    assert (states.returned, [one.user for one in states.damaged]) == (0, ["u"])


@pytest.mark.parametrize("key", [None, b"\xff"])
def test_a_record_that_no_worker_wrote_is_passed_over(tmp_path: Path, key: bytes | None) -> None:
    local = local_store(tmp_path)
    local.open(0, 0, 1.0, "c")
    states = make_states(stored=local.read)
    fetch = fetched([stored(3), stored(9)], 0)
    fetch.message.value[1].key = key
    users_store(local, states).apply_changelog_batch([fetch])
    assert local.offset(0) == 1
    assert states.offsets[states.slots_of([0], ["u"])].tolist() == [3]
    local.stop()


def test_a_removed_user_stays_removed(tmp_path: Path) -> None:
    assert recovered(tmp_path, [stored(3)], [None]).returned == 0


def test_records_of_a_partition_that_is_gone_are_dropped(tmp_path: Path) -> None:
    local, registry = local_store(tmp_path), CollectorRegistry()
    store = users_store(local, make_states(), WorkerMetrics(registry))
    store.apply_changelog_batch([fetched([stored(3)], 0)])
    local.open(0, 0, 1.0, "c")
    assert local.read(0, ["u"]) == {}
    store.apply_changelog_batch([fetched([stored(4), stored(5)], 0)])
    assert registry.get_sample_value("nextact_recovered_records_total") == 2
    local.stop()


def test_a_batch_of_the_changelog_that_nobody_can_read_is_counted_and_passed_over(tmp_path: Path) -> None:
    local, metrics = local_store(tmp_path), WorkerMetrics(CollectorRegistry())
    local.open(0, 0, 1.0, "c")
    store = users_store(local, make_states(stored=local.read), metrics)
    fetch = fetched([stored(3), None], 0)
    fetch.message.value[1] = unreadable_batch(1, 4)
    fetch.message.offset = 4
    store.apply_changelog_batch([fetch])
    assert store.persisted_offset(CHANGELOG) == 4
    assert local.read(0, ["u"])["u"] == stored(3)
    assert metrics.unreadable.labels("too_large")._value.get() == 4
    local.stop()


def test_a_rebalance_empties_memory_also_of_a_partition_that_stays(tmp_path: Path) -> None:
    local = local_store(tmp_path)
    local.open(0, 0, 1.0, "c")
    states = make_states(stored=local.read)
    store = users_store(local, states)
    store.apply_changelog_batch([fetched([stored(3)], 0)])
    assert states.offsets[states.slots_of([0], ["u"])].tolist() == [3]
    asyncio.run(store.on_rebalance({CHANGELOG}, set(), set()))
    store.apply_changelog_batch([fetched([stored(7)], 1)])
    assert states.offsets[states.slots_of([0], ["u"])].tolist() == [7]
    local.stop()


class Seek:
    """The seek at the end of a recovery, which takes until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, consumer: FetchConsumer) -> None:
        self.begun, self._end = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(consumer, "assignment", lambda: {EVENTS})
        monkeypatch.setattr(consumer, "resume_partitions", lambda _: None)
        monkeypatch.setattr(consumer, "perform_seek", self._seek)
        monkeypatch.setattr(consumer.app._fetcher, "maybe_start", self._end.wait)
        monkeypatch.setattr(UsersStore, "on_recovery_completed", self._nothing)

    async def _seek(self) -> None:
        self.begun.set()
        await self._end.wait()

    async def _nothing(self, *_: Any) -> None: ...

    async def recovered(self, recovering: asyncio.Task[None]) -> None:
        self._end.set()
        await asyncio.wait_for(recovering, 5)
        self._end.clear()
        self.begun.clear()


@pytest.mark.parametrize("assigned", [False, True])
def test_the_end_of_a_recovery_says_nothing_of_a_rebalance_that_has_begun_since(
    monkeypatch: pytest.MonkeyPatch, assigned: bool
) -> None:
    async def rebalance(*_: Any) -> None: ...

    monkeypatch.setattr(TableManager, "on_rebalance", rebalance)

    async def body(consumer: FetchConsumer) -> None:
        app, tables, seek = consumer.app, consumer.app.tables, Seek(monkeypatch, consumer)
        await begin(app, 7)
        first = asyncio.create_task(tables.recovery.on_recovery_completed(7))
        await asyncio.wait_for(seek.begun.wait(), 5)
        app.on_rebalance_start()
        if assigned:
            await assign(app, 8)
        await seek.recovered(first)
        assert not tables.actives_ready
        if not assigned:
            await assign(app, 8)
            assert not tables.actives_ready
        second = asyncio.create_task(tables.recovery.on_recovery_completed(8))
        await asyncio.wait_for(seek.begun.wait(), 5)
        assert not tables.actives_ready
        await seek.recovered(second)
        assert tables.actives_ready

    with_consumer(body)


async def begin(app: Any, generation: int) -> None:
    app.on_rebalance_start()
    await assign(app, generation)


async def assign(app: Any, generation: int) -> None:
    app.consumer_generation_id = generation
    await app.tables.on_rebalance(set(), set(), set(), generation)
