"""`nextact dead-letters replay`: publishes the original records of dead letters to their topic again.

That is the items topic for those whose header names it, else the events topic.

What was replayed is remembered as Kafka remembers what a consumer has read: as a committed offset per partition. Each
reason has a consumer group of its own, and another for records that were replayed before, so that a replay of one
reason skips no dead letter of another.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from stream_app.contract.access import REPLAY_GROUP
from stream_app.contract.dead_letters import DeadLetter, replay_record
from stream_app.contract.decoded import REASONS
from stream_app.contract.records import OutgoingRecord
from stream_app.contract.topics import LARGEST_DEAD_LETTER
from stream_app.dead_letters.reader import Progress, Selection, read_dead_letters
from stream_app.errors import UsageError
from stream_app.kafka.clients import new_consumer
from stream_app.kafka.encoded_batch import EncodedBatch, encode_records
from stream_app.kafka.publisher import started_producer
from stream_app.kafka.refusals import refusal
from stream_app.settings import Settings

MOST_REPLAYS: Final = 3  # of one record: if it is still rejected then, nobody has found out what is wrong

FOREIGN: Final = "not dead letters of nextact"
EMPTY: Final = "with neither key nor value"
UNREADABLE: Final = "stand for batches that cannot be read, whose records are nowhere else"
CUT: Final = (
    "cut to what their topic takes: the whole ones may still be in the topic that they came from, at the offset that "
    "`list` shows"
)
AGAIN: Final = "replayed before: --again"
TOO_OFTEN: Final = f"replayed {MOST_REPLAYS} times, which is the most"
TOO_LARGE: Final = "too large for their topic"
BEHIND: Final = "replayed or passed over by an earlier replay: --from-beginning"


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay."""

    again: bool = False  # also replay records that were replayed and rejected before
    from_start: bool = False  # begin where the selection begins, not where an earlier replay ended
    limit: int | None = None  # publish at most so many
    dry_run: bool = False  # count only: publish nothing, remember nothing


@dataclass(slots=True)
class ReplayCounts:
    """What became of the selected dead letters."""

    published: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # by the reason for skipping


async def replay_dead_letters(
    settings: Settings, selection: Selection, options: ReplayOptions, stop: asyncio.Event, progress: Progress
) -> ReplayCounts:
    """Publishes the selected dead letters that were not replayed yet, until `stop` is set.

    Returns when all are acknowledged and remembered. Raises `UsageError`.
    """
    producer = await started_producer(settings, "operator", max_request_size=LARGEST_DEAD_LETTER)
    positions = ReplayPositions(settings)
    replay = _Replay(settings, options, producer, positions)
    try:
        async with aclosing(read_dead_letters(settings, selection, progress, "operator")) as fetches:
            async for letters in fetches:
                if not await replay.take(letters) or stop.is_set():
                    break
    except KafkaError as error:
        if (missing := refusal(error, "Write")) is not None:
            raise missing from error
        raise UsageError(
            f"{replay.counts.published:,} were published, then {error!r}; run the command again when the broker is well"
        ) from error
    finally:
        await positions.stop()
        await producer.stop()
    return replay.counts


def outcome(counts: ReplayCounts, dry_run: bool) -> str:
    """Returns lines with how many were published, and how many were skipped for which reason."""
    verb = "would be published" if dry_run else "published"
    skipped = [f"{count:,} skipped, {why}" for why, count in counts.skipped.most_common()]
    return "\n".join([f"{counts.published:,} {verb}", *skipped])


def group_of(letter: DeadLetter, group: str) -> str:
    """Returns the consumer group whose committed offsets say up to where such dead letters were replayed."""
    return f"{group}{REPLAY_GROUP}{letter.reason}{'.again' if letter.replays else ''}"


class ReplayPositions:
    """Committed offsets of the groups that remember replays."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumers: dict[str, AIOKafkaConsumer] = {}
        self._offsets: dict[tuple[str, int], int] = {}  # by group and partition

    async def get(self, group: str, partition: int) -> int:
        """Returns the first offset that was not replayed."""
        if (group, partition) not in self._offsets:
            consumer = await self._consumer(group)
            committed = await consumer.committed(self._partition(partition))
            self._offsets[group, partition] = committed or 0
        return self._offsets[group, partition]

    async def advance(self, ends: dict[tuple[str, int], int]) -> None:
        """Commits the offsets by group and partition that are beyond those committed before."""
        changed: defaultdict[str, dict[TopicPartition, int]] = defaultdict(dict)
        for (group, partition), end in ends.items():
            if end > await self.get(group, partition):
                self._offsets[group, partition] = end
                changed[group][self._partition(partition)] = end
        for group, offsets in changed.items():
            await (await self._consumer(group)).commit(offsets)

    async def stop(self) -> None:
        """Disconnects."""
        for consumer in self._consumers.values():
            await consumer.stop()

    async def _consumer(self, group: str) -> AIOKafkaConsumer:
        if group not in self._consumers:
            consumer = new_consumer(self._settings, "operator", group_id=group)
            await consumer.start()
            self._consumers[group] = consumer
            partitions = [self._partition(number) for number in range(self._settings.partitions)]
            consumer.assign(partitions)
            consumer.pause(*partitions)  # only the positions are wanted
        return self._consumers[group]

    def _partition(self, number: int) -> TopicPartition:
        return TopicPartition(self._settings.dead_letters_topic, number)


class _Replay:
    """One run of `replay_dead_letters`."""

    def __init__(
        self, settings: Settings, options: ReplayOptions, producer: AIOKafkaProducer, positions: ReplayPositions
    ) -> None:
        self._settings, self._options = settings, options
        self._producer, self._positions = producer, positions
        self.counts = ReplayCounts()

    async def take(self, letters: Iterable[DeadLetter]) -> bool:
        """Publishes dead letters of one partition, and commits once they are acknowledged.

        Returns False when the limit is reached.
        """
        sends: list[asyncio.Future[object]] = []
        ends: dict[tuple[str, int], int] = {}
        enough = False
        for letter in letters:
            enough = self.counts.published + len(sends) == self._options.limit
            if enough:
                break
            group = group_of(letter, self._settings.group)
            reason = await self._reason_to_skip(letter, group)
            if reason is None:
                sends.append(await self._send(letter))
            else:
                self.counts.skipped[reason] += 1
            if reason not in (AGAIN, FOREIGN):
                ends[group, letter.partition] = letter.offset + 1
        for result in await asyncio.gather(*sends, return_exceptions=True):
            self._count(result)
        if not self._options.dry_run:
            await self._positions.advance(ends)
        return not enough

    async def _reason_to_skip(self, letter: DeadLetter, group: str) -> str | None:
        if letter.reason not in REASONS:
            return FOREIGN  # a text of any length could not be part of a consumer group's name
        if letter.replays >= MOST_REPLAYS:
            return TOO_OFTEN
        if letter.replays and not self._options.again:
            return AGAIN
        if not self._options.from_start and letter.offset < await self._positions.get(group, letter.partition):
            return BEHIND
        if letter.source_first_offset >= 0:
            return UNREADABLE
        if letter.cut:
            return CUT
        if letter.key is None and letter.value is None:
            return EMPTY  # such a record can never be an event, and aiokafka does not send it
        return None

    async def _send(self, letter: DeadLetter) -> asyncio.Future[object]:
        """Sends the record to the partition of its key, as a publisher would, so a user's events stay in order."""
        record, topic = replay_record(letter), self._topic_of(letter)
        if self._options.dry_run:
            acknowledged: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            acknowledged.set_result(None)
            return acknowledged
        if all(_is_utf8(name) for name, _ in record.headers):
            future: asyncio.Future[object] = await self._producer.send(
                topic, record.value, record.key, headers=list(record.headers)
            )
            return future
        return await self._send_odd(record, topic, letter.source_partition)

    def _topic_of(self, letter: DeadLetter) -> str:
        """Returns where the record belongs: what did not come from the items topic was an event."""
        items = self._settings.items_topic
        return items if letter.source_topic == items else self._settings.events_topic

    async def _send_odd(self, record: OutgoingRecord, topic: str, partition: int) -> asyncio.Future[object]:
        """Sends a record with header names of any bytes, which aiokafka does not write, as a batch of its own.

        Without a key it goes where it came from.
        """
        if record.key is not None:
            partitions = sorted(await self._producer.partitions_for(topic))
            partition = partitions[(murmur2(record.key) & 0x7FFFFFFF) % len(partitions)]
        (batch,) = encode_records([record])
        encoded = EncodedBatch(batch, time=time.time(), transactional=False)
        future: asyncio.Future[object] = await self._producer.send_batch(encoded, topic, partition=partition)
        return future

    def _count(self, result: object) -> None:
        if isinstance(result, MessageSizeTooLargeError):
            self.counts.skipped[TOO_LARGE] += 1
        elif isinstance(result, BaseException):
            raise result
        else:
            self.counts.published += 1


def _is_utf8(name: str) -> bool:
    """Returns whether a header's name has no lone surrogates, which stand for other bytes."""
    return not any("\ud800" <= mark <= "\udfff" for mark in name)
