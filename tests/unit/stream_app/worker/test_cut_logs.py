"""A cut is durable before events behind it are answered, and every worker after this one finds it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from model.serving.state_engine import StateEngine
from model.state.log_cuts import CUT_USER, LogCut, cut_of
from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.events import decode_event
from stream_app.errors import DataPathError
from stream_app.kafka.log_range import LogRange
from stream_app.pipeline.batch_result import BatchResult
from stream_app.worker.cut_logs import CutLogs
from stream_app.worker.delivery import DeliveryReceipt
from stream_app.worker.local_store import LocalStore
from tests.unit.builders.basics import make_states, unpacked


class World:
    """A delivery and an engine, whose calls are noted, around a real local store."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore(folder, topic="changelog", epoch=1, clock=lambda: 0.0)
        self.store.open(3, 0, 1e9, "cluster")
        self.happened: list[str] = []
        self.written: list[BatchResult] = []
        self.end = 0  # of the changelog
        self.broken = False
        parts: Any = self
        self.logs = CutLogs(engine=parts, store=self.store, delivery=parts, epoch=1)

    def log_was_cut(self, partition: int) -> None:
        self.happened.append(f"offsets of {partition} are free")

    async def deliver(self, results: Sequence[BatchResult], offsets: Mapping[int, range]) -> list[DeliveryReceipt]:
        (result,) = results
        self.happened.append(f"delivered {offsets[result.partition]}")
        if self.broken:
            return [DeliveryReceipt(0.0, None)]
        self.written.append(result)
        self.end += 1
        return [DeliveryReceipt(0.0, range(self.end - 1, self.end))]

    def cut(self, partition: int, cut: LogCut) -> None:
        stored = self.store.read(partition, [CUT_USER])[CUT_USER]
        assert cut_of(stored, 1) == cut, "memory must not run ahead"
        self.happened.append(f"{partition} was cut: {cut.number}, {cut.offset}")


def test_a_cut_is_delivered_then_stored_then_known(tmp_path: Path) -> None:
    world = World(tmp_path)
    asyncio.run(world.logs.note(3, 10))
    asyncio.run(world.logs.note(3, 4))
    free = "offsets of 3 are free"
    assert world.happened == [
        *(free, "delivered range(10, 10)", "3 was cut: 1, 10"),
        *(free, "delivered range(4, 4)", "3 was cut: 2, 4"),
    ]
    (record,) = unpacked(world.written[0].changelog)
    assert (record.key, cut_of(record.value, 1)) == (b"", LogCut(1, 10))
    assert world.written[0].states == [(b"", record.value)]
    assert world.store.offset(3) == 1  # as for any record of the changelog
    states = make_states(stored=world.store.read)
    assert states._stored_cut(3) == LogCut(2, 4)
    world.store.stop()


def look(world: World, log: LogRange | None) -> int | None:
    async def ask() -> LogRange:
        assert log is not None
        return log

    return asyncio.run(world.logs.look(3, ask))


@pytest.mark.parametrize(("end", "anew"), [(20, True), (21, False), (0, True)])
def test_a_log_that_does_not_have_what_a_user_has_seen_was_made_anew(tmp_path: Path, end: int, anew: bool) -> None:
    world = World(tmp_path)
    cut = LogCut(1, 4)
    users = {b"": cut, b"ada": LogCut(0, 70), b"bob": LogCut(1, 20), b"eve": LogCut(1, 7)}
    world.store.write(3, [(user, of.record(epoch=1)) for user, of in users.items()], 0)
    world.store.write(3, [(b"old", LogCut(1, 99).record(epoch=2)), (b"worn", b"damaged")], 1)
    assert look(world, LogRange(0, end)) == (0 if anew else None)
    assert (world.happened[-1:] == ["3 was cut: 2, 0"]) is anew
    world.store.stop()


@pytest.mark.parametrize(("end", "anew"), [(9, True), (10, False), (11, False)])
def test_a_cut_behind_which_nothing_was_written_is_not_an_event_that_a_user_has_seen(
    tmp_path: Path, end: int, anew: bool
) -> None:
    """Else the whole log before it would be answered a second time."""
    world = World(tmp_path)
    world.store.write(3, [(b"ada", LogCut(0, 70).record(epoch=1))], 0)
    world.end = 1
    asyncio.run(world.logs.note(3, 10))
    assert look(world, LogRange(0, end)) == (0 if anew else None)
    world.store.stop()


def test_a_log_of_whose_users_nobody_is_known_was_not_made_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert look(world, None) is None  # nobody even asks
    world.store.close(3)
    assert look(world, None) is None
    assert world.happened == []
    world.store.stop()


def test_no_event_has_the_user_id_of_a_cut() -> None:
    value = f'{{"user_id":"{CUT_USER}","type":"view","item_id":"x"}}'.encode()
    with pytest.raises(RejectedRecord):
        decode_event(CUT_USER.encode(), value, 0)


def test_a_cut_that_was_not_written_is_not_known(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.broken = True
    with pytest.raises(DataPathError, match="nothing was written"):
        asyncio.run(world.logs.note(3, 10))
    assert world.store.read(3, [CUT_USER]) == {}
    world.store.stop()


def test_a_cut_that_cannot_be_read_counts_as_damaged_and_is_replaced(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.store.write(3, [(b"", b"damaged")], 0)
    states = make_states(stored=world.store.read)
    engine = StateEngine(states, rules_share=0)
    assert states._stored_cut(3) == LogCut()
    assert [(one.partition, one.user) for one in engine.states.damaged] == [(3, CUT_USER)]
    asyncio.run(world.logs.note(3, 10))
    assert states._stored_cut(3) == LogCut(1, 10)
    world.store.stop()
