"""A client of a stream on librdkafka, whose own work is done outside the interpreter, by threads of its own."""

from __future__ import annotations

import gc
import time
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, Producer, TopicPartition

from stream_app.settings import Settings
from tests.bench.open_loop import GIVE_UP_S, GRACE_S, RUNS, EventPool, LoadRun, Record, numbers, offer

LINGER_MS: Final = 1  # it sends a request per partition: without a pause the broker would be given one per event
_AT_ONCE: Final = 10_000  # most records taken at once
_PATIENCE_S: Final = 10.0  # with a broker


class LibrdkafkaLoad:
    """Publishes events and awaits what comes back for each; a context manager that closes its connections."""

    def __init__(self, settings: Settings, pool: EventPool) -> None:
        self._settings = settings
        self._pool = pool
        self._run = 0
        self._problem: object = None
        common = {"socket.nagle.disable": True, "log_level": 2, **connection(settings)}
        publishing = {
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # as the contract asks of publishers
            "linger.ms": LINGER_MS,
            "compression.type": settings.compression,  # the codecs have the same names there
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,
            "on_delivery": self._note,
        }
        subscribing = {
            "group.id": "none",  # it needs one, but nothing is committed, and nobody is asked for a share
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
            "isolation.level": "read_committed",
        }
        self._producer = Producer(common | publishing)
        self._consumer = Consumer(common | subscribing)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.purge()
        self._consumer.close()

    def run(self, rate: float, seconds: float, *, grace: float = GRACE_S, give_up: float = GIVE_UP_S) -> LoadRun:
        """Offers so many events/s for so long; see `offer`. Raises RuntimeError where the broker refuses an event."""
        self._run = next(RUNS)
        records = self._pool.take(self._run, round(rate * seconds))
        self._read_from_the_end()
        gc.disable()  # a collection would hold up what is due
        try:
            return offer(self, records, rate, time.perf_counter, grace=grace, give_up=give_up)
        finally:
            gc.enable()

    def answers(self) -> bool:
        """Tells whether one event is answered within a second."""
        return self.run(1.0, 1.0, grace=1.0).lost == 0

    def send(self, record: Record) -> None:
        """Queues an event."""
        self._producer.produce(self._settings.events_topic, record[1], record[0])

    def take(self, wait: float) -> list[int]:
        """Returns the numbers of the events whose answers have come."""
        first = self._consumer.poll(wait)
        came = [] if first is None else [first, *self._consumer.consume(_AT_ONCE, 0)]
        self._producer.poll(0)
        self._problem = self._problem or next((record.error() for record in came if record.error()), None)
        if self._problem is not None:
            raise RuntimeError(f"an event was not sent, or an answer not received: {self._problem}")
        return numbers((record.value() for record in came), self._run)

    def _read_from_the_end(self) -> None:
        topic = self._settings.predictions_topic
        partitions = [TopicPartition(topic, number) for number in range(self._settings.partitions)]
        for partition in partitions:
            _, partition.offset = self._consumer.get_watermark_offsets(partition, timeout=_PATIENCE_S)
        self._consumer.assign(partitions)

    def _note(self, error: Any, _record: Any) -> None:
        self._problem = error


def connection(settings: Settings) -> dict[str, Any]:
    """Returns where and how a client connects, by librdkafka's names. Tokens of OAUTHBEARER are left out."""
    options: dict[str, Any] = {"bootstrap.servers": settings.brokers, "security.protocol": settings.security_protocol}
    if settings.uses_tls:
        files = {"ca": settings.ssl_cafile, "certificate": settings.ssl_certfile, "key": settings.ssl_keyfile}
        options |= {f"ssl.{name}.location": path for name, path in files.items() if path}
        options["ssl.key.password"] = settings.ssl_password.get_secret_value()
        options["ssl.endpoint.identification.algorithm"] = "https" if settings.ssl_check_hostname else "none"
    if settings.uses_sasl:
        options["sasl.mechanism"] = settings.sasl_mechanism
        options["sasl.username"] = settings.sasl_username
        options["sasl.password"] = settings.sasl_password.get_secret_value()
    return options
