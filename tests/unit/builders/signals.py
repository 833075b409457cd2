"""A pipeline that tells signals, whose batches overlap, and what users do in it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from model.serving.state_engine import StateEngine
from stream_app.contract.signals.signal import Signal, decode_signal
from stream_app.pipeline.batch_result import BatchResult
from stream_app.pipeline.batches import SteppedBatch
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import Settings, load_settings
from stream_app.signals.due import DueUsers
from stream_app.signals.writer import SignalWriter
from tests.unit.builders.basics import Shelf, make_record, make_states, unpacked

SETTINGS = load_settings({"signals_topic": "shop.signals"})
START = 1_700_000_000_000
SILENCE = 30 * 60_000
NOW = START + 10**9  # ms, by the worker's clock


class Shopped(NamedTuple):
    """An event of the log."""

    user: str
    kind: str
    item: str
    time: int  # ms, by its publisher and its record


class Bench:
    """A pipeline whose batches overlap; what was encoded is durable at once."""

    def __init__(self, ahead: int, settings: Settings = SETTINGS) -> None:
        self.shelf = Shelf()
        self.engine = StateEngine(make_states(most=3, stored=self.shelf), rules_share=0)
        self.pipeline = Pipeline(self.engine, settings, WorkerMetrics(CollectorRegistry()), lambda: 0.0)
        self.pipeline.signals = SignalWriter(settings, lambda: NOW / 1000)
        self.signals: list[Signal] = []
        self.timers: list[tuple[int, str]] = []
        self._ahead, self._stepped = ahead, deque[SteppedBatch]()
        self._offset = 0

    def shop(self, events: Sequence[Shopped]) -> None:
        """Takes a batch in."""
        self.take([self.record(event) for event in events])

    def take(self, records: list[ConsumerRecord[bytes, bytes]]) -> None:
        """Takes a batch of records in."""
        self._step(self.pipeline.decode(records, 1))

    def look(self, now: int) -> None:
        """Looks at whoever has a timer by then; what was stepped before is answered first, as timers are durable."""
        self.finish()
        due = dict.fromkeys(user for time, user in self.timers if time <= now)
        self.timers = [(time, user) for time, user in self.timers if time > now]
        if due:
            self._step(self.pipeline.decode_due([DueUsers(0, list(due), now, "clock")], 1))

    def finish(self, left: int = 0) -> None:
        while len(self._stepped) > left:
            stepped = self._stepped.popleft()
            for result in self.pipeline.encode(self.pipeline.answer(stepped)):
                self._keep(result)
            self.pipeline.settle(stepped.number + 1)

    def _step(self, received: object) -> None:
        self._stepped.append(self.pipeline.step(received))  # type: ignore[arg-type]
        self.finish(self._ahead)

    def _keep(self, result: BatchResult) -> None:
        self.shelf.update({(result.partition, user.decode()): record for user, record in result.states})
        assert [(sent.key, sent.value) for sent in unpacked(result.changelog)] == result.states
        self.signals += [decode_signal(sent.value or b"") for sent in unpacked(result.signals)]
        self.timers += [(timer.due, timer.user.decode()) for timer in result.timers]

    def record(self, event: Shopped, **fields: Any) -> ConsumerRecord[bytes, bytes]:
        """Returns the next record of the log."""
        content = {"user_id": event.user, "type": event.kind, "item_id": event.item, "timestamp": event.time} | fields
        self._offset += 1
        return make_record(
            json.dumps(content).encode(), key=event.user.encode(), offset=self._offset, timestamp=event.time
        )
