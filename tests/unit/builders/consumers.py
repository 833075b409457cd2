"""Faust's consumer without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from faust.types import TP

from model.serving.state_engine import StateEngine
from stream_app.settings import load_settings
from stream_app.worker.faust_app import create_app
from stream_app.worker.faust_fetch_thread import Fetch
from stream_app.worker.faust_transport import FetchConsumer
from tests.unit.builders.basics import make_record, make_states

SETTINGS = load_settings()


OFFSETS = {3: 5}  # what the local store contains, by partition


EVENTS = TP(SETTINGS.events_topic, 3)


OTHER = TP("other", 0)


CHANGELOG = TP(SETTINGS.state_topic, 3)


STANDBY = TP(SETTINGS.state_topic, 4)


def records(*offsets: int) -> list[ConsumerRecord[bytes, bytes]]:
    return [make_record(b"{}", offset=offset, timestamp=offset + 1000, partition=3) for offset in offsets]


def hand_out(consumer: FetchConsumer, *offsets: int, tp: TP = EVENTS) -> Any:
    """The message that Faust makes of a fetch."""
    fetch = Fetch(tp, records(*offsets), consumer._expected.get(tp, offsets[0]), offsets[-1] + 1)
    consumer._expect(tp, [fetch])
    return consumer._to_message(tp, fetch if consumer._is_changelog_tp(tp) else Fetch.carrying([fetch]))


@dataclass
class Delivery:
    """The part of a delivery that the transport uses."""

    commits_offsets: bool = False
    taken_over: list[set[int]] = field(default_factory=list)
    broken: bool = False
    heartbeats: list[tuple[float, bool]] = field(default_factory=list)

    async def assigned(self, partitions: set[int]) -> None:
        if self.broken:
            raise ConnectionError("no broker")
        self.taken_over.append(partitions)

    def heartbeat(self, sent: float, *, accepted: bool) -> None:
        self.heartbeats.append((sent, accepted))


def run(
    body: Callable[[FetchConsumer], Awaitable[None]],
    *,
    drained: Callable[[], Awaitable[None]] | None = None,
    delivery: Delivery | None = None,
    pause: float = 0.0,
    fail: Callable[..., Any] = pytest.fail,
) -> None:
    """Calls `body` with the consumer of a real app that was never started."""

    async def whole() -> None:
        async def consume(stream: Any) -> None: ...

        async def at_once() -> None: ...

        joins = SimpleNamespace(resume=lambda _: None)
        agent: Any = SimpleNamespace(
            consume=consume, drained=drained or at_once, pause=lambda: pause, joins=joins, resume=lambda _: None
        )
        delivering: Any = delivery or Delivery()
        engine = StateEngine(make_states(), rules_share=0)
        parts: dict[str, Any] = {"store": SimpleNamespace(offset=OFFSETS.get), "metrics": None}
        app = create_app(SETTINGS, engine=engine, agent=agent, delivery=delivering, fail=fail, **parts)
        app.finalize()
        app.topics._acking_topics |= {EVENTS.topic, OTHER.topic}
        try:
            await body(app.consumer)
        finally:
            app.consumer._thread.thread_loop.close()

    asyncio.run(whole())


def fetch_client(send: Callable[[int, Any], Awaitable[Any]]) -> Any:
    """What aiokafka's fetcher needs of a client in the running event loop: `send` answers requests to a node."""
    return SimpleNamespace(
        cluster=SimpleNamespace(leader_for_partition=lambda _: 1),
        send=send,
        _loop=asyncio.get_running_loop(),
        _metadata_max_age_ms=1000,
    )
