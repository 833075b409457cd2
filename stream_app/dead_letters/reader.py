"""Reads the dead letters topic to its present end: own consumer, no group, so that workers notice nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.contract.dead_letters import DeadLetter, read_dead_letter
from stream_app.contract.events import REASONS
from stream_app.contract.topics import LARGEST_DEAD_LETTER
from stream_app.errors import UsageError
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings

_POLL_MS: Final = 500
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Progress = Callable[[int, int], None]  # records read, records in all


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters; what is empty or None does not restrict. Raises `UsageError` for a reason that is none."""

    reasons: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()  # of the dead letters topic, which are those of the events
    since_ms: int | None = None  # when they became dead letters, milliseconds since the epoch
    offset: int | None = None  # the first one
    newest: int | None = None  # look at no more than so many of each partition

    def __post_init__(self) -> None:
        unknown = self.reasons.difference(REASONS)
        if unknown:
            raise UsageError(f"no reason is called {min(unknown)!r}; there are {', '.join(REASONS)}")

    def __contains__(self, letter: DeadLetter) -> bool:
        return not self.reasons or letter.reason in self.reasons


async def read_dead_letters(
    settings: Settings, selection: Selection, progress: Progress
) -> AsyncGenerator[list[DeadLetter], None]:
    """The selected dead letters, fetch by fetch, those of one partition in order.

    Raises `BrokerUnreachable`, `TopicMismatch`, `UsageError` for a partition that is not there.
    """
    partitions = _partitions(settings, selection.partitions)
    await ensure_topics(settings, create=False)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.brokers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=LARGEST_DEAD_LETTER,
    )
    await consumer.start()
    try:
        starts, ends = await _bounds(consumer, partitions, selection)
        consumer.assign(partitions)
        for partition, start in starts.items():
            consumer.seek(partition, start)
        read, total = 0, sum(ends[partition] - starts[partition] for partition in partitions)
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            fetched = await consumer.getmany(timeout_ms=_POLL_MS)
            for partition, records in fetched.items():
                letters = [read_dead_letter(record) for record in records if record.offset < ends[partition]]
                read += len(letters)
                yield [letter for letter in letters if letter in selection]
            progress(read, total)
    finally:
        await consumer.stop()


def time_of(text: str, now: float) -> int:
    """Milliseconds since the epoch, of an age such as 30m, 2h or 7d, or of an ISO 8601 time (UTC where it has no zone).

    `now` in seconds since the epoch. Raises `UsageError`.
    """
    if age := re.fullmatch(r"(\d+)([smhd])", text):
        return round((now - int(age[1]) * _SECONDS[age[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time: give an age such as 30m, 2h, 7d, or 2026-01-31T12:00:00Z") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _partitions(settings: Settings, wanted: Collection[int]) -> list[TopicPartition]:
    unknown = [number for number in wanted if number >= settings.partitions]
    if unknown:
        raise UsageError(
            f"no partition {unknown[0]}: {settings.dead_letters_topic!r} has 0 to {settings.partitions - 1}"
        )
    numbers = sorted(wanted) or range(settings.partitions)
    return [TopicPartition(settings.dead_letters_topic, number) for number in numbers]


async def _bounds(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], selection: Selection
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Where to start, and the present ends. Before the consumer fetches: it would be answered after a fetch only."""
    starts = dict(await consumer.beginning_offsets(partitions))
    ends = dict(await consumer.end_offsets(partitions))
    times = {} if selection.since_ms is None else dict.fromkeys(partitions, selection.since_ms)
    later = await consumer.offsets_for_times(times) if times else {}
    for partition in partitions:
        wishes = [starts[partition], selection.offset or 0]
        if times:
            found = later[partition]
            wishes.append(ends[partition] if found is None else found.offset)
        if selection.newest is not None:
            wishes.append(ends[partition] - selection.newest)
        starts[partition] = min(max(wishes), ends[partition])
    return starts, ends
