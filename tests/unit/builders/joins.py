"""A pipeline that reads the joins that it writes, as the workers of a stream do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiokafka import ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner
from prometheus_client import CollectorRegistry

from model.serving.state_engine import StateEngine
from stream_app.contract.joins import JoinRecord, decode_join
from stream_app.contract.predictions import decode_prediction
from stream_app.contract.records import OutgoingRecord
from stream_app.pipeline.joins.fetched import JoinsFetch
from stream_app.pipeline.metrics import JOIN_OUTCOMES, WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from tests.unit.builders.basics import CPU, make_record, make_states, unpacked

SETTINGS = load_settings({"partitions": 2})
Record: TypeAlias = "ConsumerRecord[bytes, bytes]"

_partitioner = DefaultPartitioner()


def home_of(user: str) -> int:
    """The partition of a user's records."""
    return int(_partitioner(user.encode(), [0, 1], [0, 1]))


@dataclass
class JoiningPipeline:
    """A pipeline, and what it wrote."""

    length: int = 64
    written: list[tuple[str, JoinRecord]] = field(default_factory=list)  # of the joins topic
    lengths: dict[tuple[int, int], int] = field(default_factory=dict)  # by place, of predictions
    predictions: list[tuple[int, OutgoingRecord]] = field(default_factory=list)  # each with its partition
    changelog: list[tuple[int, OutgoingRecord]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.engine = StateEngine(make_states(CPU, length=self.length), rules_share=1)
        self.pipeline = Pipeline(self.engine, SETTINGS, WorkerMetrics(self.registry), lambda: 0.0)
        self.pipeline.joins = True
        self._ends: defaultdict[int, int] = defaultdict(int)

    @property
    def records(self) -> dict[str, bytes]:
        """Each user's newest record."""
        return {(sent.key or b"").decode(): sent.value or b"" for _, sent in self.changelog}

    def events(self, records: list[Record]) -> list[JoinsFetch]:
        """Processes events; returns what comes of them on the joins topic."""
        return self._run(self.pipeline.decode(records, 1))

    def joins(self, fetches: list[JoinsFetch]) -> list[JoinsFetch]:
        """Processes joins, as `events` does."""
        return self._run(self.pipeline.decode_joins(fetches, 1)) if fetches else []

    def process(self, records: list[Record]) -> None:
        """Processes events and all joins that come of them."""
        fetches = self.events(records)
        while fetches:
            fetches = self.joins(fetches)

    def _run(self, received: Any) -> list[JoinsFetch]:
        fetches: defaultdict[int, list[Any]] = defaultdict(list)
        for result in self.pipeline.encode(self.pipeline.answer(self.pipeline.step(received))):
            changed = unpacked(result.changelog)
            assert dict(result.states) == {sent.key: sent.value for sent in changed}
            self.changelog += [(result.partition, sent) for sent in changed]
            for sent in unpacked(result.predictions):
                prediction = decode_prediction(sent.value or b"")
                self.lengths[prediction.source.partition, prediction.source.offset] = prediction.history_length
                self.predictions.append((result.partition, sent))
            for partition, batch in result.joins:
                for sent in unpacked([batch]):
                    user, said = decode_join(sent.key, sent.value)
                    assert partition == home_of(user)
                    self.written.append((user, said))
                    record = make_record(sent.value, key=sent.key, offset=self._ends[partition], partition=partition)
                    fetches[partition].append(record)
                    self._ends[partition] += 1
        return [JoinsFetch(partition, records) for partition, records in fetches.items()]

    def outcomes(self) -> dict[str, float]:
        """How often each thing became of a join, but for never."""
        values = {
            name: self.registry.get_sample_value("nextact_joins_total", {"outcome": name}) for name in JOIN_OUTCOMES
        }
        return {name: value for name, value in values.items() if value}
