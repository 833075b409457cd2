"""Reads the dead letters topic to its present end with a consumer outside of any group, so workers notice nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.contract.dead_letters import DeadLetter, read_dead_letter
from stream_app.contract.decoded import REASONS
from stream_app.contract.topics import LARGEST_DEAD_LETTER
from stream_app.errors import UsageError
from stream_app.kafka.clients import Role, new_consumer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings

_POLL_MS: Final = 500  # longest wait for a fetch
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Progress = Callable[[int, int], None]  # gets the records read so far, and all records to read


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters to read; a field that is empty or None does not restrict.

    Raises `UsageError` for a reason that does not exist.
    """

    reasons: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()  # of the dead letters topic, numbered as those of the events topic
    since_ms: int | None = None  # earliest time at which they became dead letters, milliseconds since the epoch
    offset: int | None = None  # first offset in the dead letters topic
    newest: int | None = None  # read at most so many of each partition, the newest

    def __post_init__(self) -> None:
        unknown = self.reasons.difference(REASONS)
        if unknown:
            raise UsageError(f"unknown reason {min(unknown)!r}; the reasons are {', '.join(REASONS)}")

    def __contains__(self, letter: DeadLetter) -> bool:
        return not self.reasons or letter.reason in self.reasons


async def read_dead_letters(
    settings: Settings, selection: Selection, progress: Progress, role: Role = "subscriber"
) -> AsyncGenerator[list[DeadLetter], None]:
    """Yields the selected dead letters, fetch by fetch, those of one partition in order.

    Raises `BrokerUnreachable`, `TopicMismatch`, or `UsageError` for a partition that does not exist.
    """
    partitions = _partitions(settings, selection.partitions)
    await ensure_topics(settings, role, settings.dead_letters_topic, create=False)
    consumer = new_consumer(
        settings,
        role,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=LARGEST_DEAD_LETTER,
    )
    async with consumer:
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


def time_of(text: str, now: float) -> int:
    """Returns milliseconds since the epoch for an age such as 30m, 2h or 7d, or for an ISO 8601 time (by default UTC).

    `now`: in seconds since the epoch. Raises `UsageError`.
    """
    if age := re.fullmatch(r"(\d+)([smhd])", text):
        return round((now - int(age[1]) * _SECONDS[age[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a time: give an age such as 30m, 2h or 7d, or a time such as 2026-01-31T12:00:00Z"
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _partitions(settings: Settings, wanted: Collection[int]) -> list[TopicPartition]:
    unknown = [number for number in wanted if number >= settings.partitions]
    if unknown:
        raise UsageError(
            f"there is no partition {unknown[0]}: those of {settings.dead_letters_topic!r} are 0 to "
            f"{settings.partitions - 1}"
        )
    numbers = sorted(wanted) or range(settings.partitions)
    return [TopicPartition(settings.dead_letters_topic, number) for number in numbers]


async def _bounds(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], selection: Selection
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Returns the offsets to start at, and the present ends.

    To be called before the consumer fetches; afterwards it would be answered only after a fetch.
    """
    starts = dict(await consumer.beginning_offsets(partitions))
    ends = dict(await consumer.end_offsets(partitions))
    times = {} if selection.since_ms is None else dict.fromkeys(partitions, selection.since_ms)
    later = await consumer.offsets_for_times(times) if times else {}
    for partition in partitions:
        lower_bounds = [starts[partition], selection.offset or 0]
        if times:
            first = later[partition]
            lower_bounds.append(ends[partition] if first is None else first.offset)
        if selection.newest is not None:
            lower_bounds.append(ends[partition] - selection.newest)
        starts[partition] = min(max(lower_bounds), ends[partition])
    return starts, ends
