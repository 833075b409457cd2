"""Streams on one broker: every contestant has topics of its own in every repeat, and reads what was there before."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.partitioner import murmur2

from stream_app.contract.records import OutgoingRecord
from stream_app.kafka.clients import new_admin, new_consumer
from stream_app.kafka.encoded_batch import encode_records
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.cluster import Broker
from stream_app.sandbox.secure import ADMIN
from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion, publish_promotion
from stream_app.worker.delivery import acknowledged, delivery_producer, send_batches
from tests.integration.running import Running

PARTITIONS: Final = 8
HEAP_MB: Final = 1024  # of a broker
LONGEST_S: Final = 600.0  # that anything may take
POLL_S: Final = 0.5  # between two looks at how far a contestant is: each takes processor time from it
_ROOT: Final = Path(__file__).parents[2]
_RUNS: Final = itertools.count(1)  # of workers, each with a log of its own

Record = tuple[bytes, bytes]  # key and value


class Streams:
    """Makes streams, and fills them."""

    def __init__(self, broker: Broker, place: Path, device: str, *, registry: Path | None = None) -> None:
        """`registry`: the folder of versions, by default `place`."""
        self.broker = broker
        self.place = place
        self._device = device
        self._registry = registry or place
        self._numbers = itertools.count(1)

    @cached_property
    def secured(self) -> Streams:
        """The same on a broker that takes TLS and passwords only, which runs while `running` is entered."""
        place = self.place / "secured"
        broker = Broker(place / "kafka", secure=place / "secure", heap_mb=HEAP_MB)
        return Streams(broker, place, self._device, registry=self._registry)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Starts the broker and stops it, where it does not run anyway; its topics stay."""
        if self.broker.pids:
            yield
        else:
            with self.broker:
                yield

    def new(self, promotion: Promotion | None = None, **changes: Any) -> Settings:
        """Topics that nobody has used, with a champion if one is given; `changes` to the default settings."""
        prefix = f"bench-{next(self._numbers)}"
        own: dict[str, Any] = own_topics(prefix) | {
            "group": f"{prefix}.group",
            "registry": str(self._registry),
            "partitions": PARTITIONS,
            "data_dir": self.place / prefix,
            "device": self._device,
        }
        settings = Settings(**own | self._access() | changes)
        asyncio.run(_make_output(settings))
        self.make(settings)
        if promotion is not None:
            asyncio.run(publish_promotion(promotion, settings))
        return settings

    def _access(self) -> dict[str, Any]:
        """Where the broker is, and who connects: its administrator, where it asks."""
        if self.broker.secured:
            return self.broker.secure.settings_for(ADMIN)
        return {"brokers": self.broker.bootstrap_servers}

    def make(self, settings: Settings) -> None:
        """Makes the topics that are missing."""
        asyncio.run(ensure_topics(settings))


def own_topics(prefix: str) -> dict[str, str]:
    """Returns a name for every topic but those that are off by default, as is what a worker does for them."""
    defaults = Settings()
    names = [name for name in Settings.model_fields if name.endswith("_topic") and getattr(defaults, name)]
    return {name: f"{prefix}.{name}" for name in names}


async def _make_output(settings: Settings) -> None:
    """Predictions with the broker's time on them: some peers' clients would write that of the event."""
    config = {"message.timestamp.type": "LogAppendTime"}
    topic = NewTopic(settings.predictions_topic, settings.partitions, 1, topic_configs=config)
    admin = new_admin(settings, "operator")
    await admin.start()
    try:
        await admin.create_topics([topic], timeout_ms=10_000)
    finally:
        await admin.close()


def fill(settings: Settings, topic: str, records: Iterable[Record]) -> None:
    """Writes records to the partitions where publishers of the contract send them, as fast as the broker takes them."""
    parts: list[list[OutgoingRecord]] = [[] for _ in range(settings.partitions)]
    for key, value in records:
        parts[(murmur2(key) & 0x7FFFFFFF) % settings.partitions].append(OutgoingRecord(key, value))
    asyncio.run(_write(settings, topic, parts))


async def _write(settings: Settings, topic: str, parts: Sequence[list[OutgoingRecord]]) -> None:
    async with delivery_producer(settings, enable_idempotence=True) as producer:
        queued = await asyncio.gather(
            *(
                send_batches(
                    producer, topic, partition, encode_records(part, compression=settings.compression), time.time
                )
                for partition, part in enumerate(parts)
            )
        )
        await asyncio.gather(*map(acknowledged, queued))


def written(settings: Settings, topic: str) -> int:
    """Records that a topic has; ends of transactions count as one each."""
    return asyncio.run(_written(settings, topic))


async def _written(settings: Settings, topic: str) -> int:
    async with new_consumer(settings, "subscriber") as consumer:
        return sum((await consumer.end_offsets(_partitions(settings, topic))).values())


def bytes_per_record(broker: Broker, settings: Settings, topic: str) -> float:
    """Bytes that the broker keeps of a topic's records, batch headers and compression included."""
    return sum(file.stat().st_size for file in broker.data_dir.rglob(f"{topic}-*/*.log")) / written(settings, topic)


def rate(settings: Settings, topic: str) -> tuple[int, float]:
    """Records of a topic, and how many came per second between the first and the last of them."""
    times = asyncio.run(_times(settings, topic))
    return len(times), (len(times) - 1) / (max(times) - min(times)) * 1000


async def _times(settings: Settings, topic: str) -> list[int]:
    """When the broker wrote each committed record, in milliseconds."""
    times: list[int] = []
    async with new_consumer(settings, "subscriber", isolation_level="read_committed") as consumer:
        partitions = _partitions(settings, topic)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for fetched in (await consumer.getmany(timeout_ms=200)).values():
                times += [record.timestamp for record in fetched]
    return times


def _partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in range(settings.partitions)]


@contextmanager
def workers(settings: Settings, count: int = 1, *, fresh: bool = False) -> Iterator[list[Running]]:
    """So many worker processes; ended at the end. `fresh`: see `Running`."""
    number = next(_RUNS)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    logs = [settings.data_dir / f"worker-{number}-{one}.log" for one in range(count)]
    started = [Running(("worker",), settings, log, fresh=fresh) for log in logs]
    try:
        yield started
        for worker in started:
            worker.terminate(60)
    finally:
        for worker in started:
            worker.kill()


def predictions(running: Sequence[Running]) -> float:
    """How many the workers have made durable."""
    return sum(
        worker.metric("nextact_predictions_total", ranker) for worker in running for ranker in ("model", "rules")
    )


@contextmanager
def peer(module: str, *arguments: object, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A peer of ours as a process of its own, in the folder of its log, where Faust leaves one; killed at the end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"tests.bench.peers.{module}", *map(str, arguments)]
    with log.open("ab") as output:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(_ROOT), *sys.path))}
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(holds: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, every: float = POLL_S) -> None:
    """Returns when something holds; fails with the peer's log when it ends before."""
    deadline = time.monotonic() + LONGEST_S
    while not holds():
        assert process.poll() is None, f"ended with {process.returncode}:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"not within {LONGEST_S} s:\n{log.read_text()[-3000:]}"
        time.sleep(every)
