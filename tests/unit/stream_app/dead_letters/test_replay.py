"""Replays of dead letters: which are published, which are skipped and why, and what is remembered.

Whole replays, with their consumer groups, are tested on a real broker in tests/integration/test_dead_letters.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from stream_app.contract.dead_letters import DeadLetter
from stream_app.dead_letters.replay import (
    AGAIN,
    BEHIND,
    CUT,
    EMPTY,
    FOREIGN,
    MOST_REPLAYS,
    TOO_LARGE,
    TOO_OFTEN,
    UNREADABLE,
    ReplayCounts,
    ReplayOptions,
    _Replay,
    group_of,
    outcome,
)
from stream_app.kafka.encoded_batch import EncodedBatch
from stream_app.kafka.record_reader import read_batches
from stream_app.settings import Settings

SETTINGS = Settings.model_construct()


def letter(offset: int, *, reason: str = "not_json", replays: int = 0, value: bytes | None = b"{") -> DeadLetter:
    key = None if value is None else b"u"
    return DeadLetter(3, offset, 1, reason, "why", "shop.events", 3, offset, 1, replays, key, value, [("trace", b"a")])


@dataclass
class Committed:
    """Offsets by group and partition that a replay commits, in memory."""

    offsets: dict[tuple[str, int], int] = field(default_factory=dict)

    async def get(self, group: str, partition: int) -> int:
        return self.offsets.get((group, partition), 0)

    async def advance(self, ends: dict[tuple[str, int], int]) -> None:
        self.offsets |= ends


@dataclass
class Sends:
    """A producer that keeps what it is given; records with the values in `errors` fail."""

    errors: dict[bytes, Exception] = field(default_factory=dict)
    records: list[tuple[str, bytes | None, bytes | None, dict[str, bytes]]] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)  # of batches

    async def partitions_for(self, _: str) -> set[int]:
        return set(range(8))

    async def send_batch(self, batch: EncodedBatch, topic: str, *, partition: int) -> asyncio.Future[None]:
        self.partitions.append(partition)
        ((record,),) = [read.records for read in read_batches(batch._build())]
        return await self.send(topic, record.value, record.key, headers=record.headers)

    async def send(self, topic: str, value: bytes | None, key: bytes | None, *, headers: Any) -> asyncio.Future[None]:
        self.records.append((topic, value, key, dict(headers)))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if value in self.errors:
            future.set_exception(self.errors[value])
        else:
            future.set_result(None)
        return future


def replay(
    letters: list[DeadLetter], options: ReplayOptions, producer: Sends, committed: Committed
) -> tuple[ReplayCounts, bool]:
    """Replays letters of one partition; returns the counts, and whether more would be taken."""

    async def run() -> tuple[ReplayCounts, bool]:
        one: Any = _Replay(SETTINGS, options, producer, committed)  # type: ignore[arg-type]
        return one.counts, await one.take(letters)

    return asyncio.run(run())


def test_records_are_published_as_they_came_and_remembered() -> None:
    producer, committed = Sends(), Committed()
    counts, more = replay([letter(5), letter(6)], ReplayOptions(), producer, committed)
    assert (counts.published, counts.skipped, more) == (2, Counter(), True)
    topic, value, key, headers = producer.records[0]
    assert (topic, value, key) == ("shop.events", b"{", b"u")
    assert headers == {
        "trace": b"a",
        "nextact.replay": b"1",
        "nextact.replay.partition": b"3",
        "nextact.replay.offset": b"5",
    }
    assert committed.offsets == {("nextact-dead-letter-replay.not_json", 3): 7}


def test_a_second_replay_publishes_only_what_is_new_unless_told_to_begin_again() -> None:
    committed = Committed()
    replay([letter(5)], ReplayOptions(), Sends(), committed)
    counts, _ = replay([letter(5), letter(6)], ReplayOptions(), Sends(), committed)
    assert (counts.published, counts.skipped) == (1, Counter({BEHIND: 1}))
    counts, _ = replay([letter(5), letter(6)], ReplayOptions(from_start=True), Sends(), committed)
    assert counts.published == 2


@pytest.mark.parametrize(
    ("skipped", "why", "remembered"),
    [
        (letter(5, reason=""), FOREIGN, False),
        (letter(5, reason="x" * 40_000), FOREIGN, False),
        (letter(5)._replace(cut=("value",), value_bytes=20_000_000), CUT, True),
        (letter(5, reason="unreadable", value=None)._replace(source_first_offset=3), UNREADABLE, True),
        (letter(5, replays=1), AGAIN, False),
        (letter(5, replays=MOST_REPLAYS), TOO_OFTEN, True),
        (letter(5, value=None), EMPTY, True),
    ],
)
def test_a_letter_that_cannot_be_replayed_is_skipped(skipped: DeadLetter, why: str, remembered: bool) -> None:
    producer, committed = Sends(), Committed()
    counts, _ = replay([skipped], ReplayOptions(), producer, committed)
    assert (counts.published, counts.skipped, producer.records) == (0, Counter({why: 1}), [])
    assert bool(committed.offsets) == remembered


def test_a_record_that_was_replayed_before_is_replayed_again_on_demand_in_a_group_of_its_own() -> None:
    producer, committed = Sends(), Committed()
    counts, _ = replay([letter(5, replays=2)], ReplayOptions(again=True), producer, committed)
    assert counts.published == 1
    assert producer.records[0][3]["nextact.replay"] == b"3"
    assert committed.offsets == {("nextact-dead-letter-replay.not_json.again", 3): 6}


def test_each_reason_has_a_group_of_its_own() -> None:
    groups = [group_of(letter(1, reason=reason, replays=n), "g") for reason in ("empty", "not_json") for n in (0, 1, 2)]
    assert len(set(groups)) == 4


def test_the_limit_ends_a_replay_where_the_next_one_goes_on() -> None:
    committed = Committed()
    counts, more = replay([letter(offset) for offset in range(5)], ReplayOptions(limit=2), Sends(), committed)
    assert (counts.published, more) == (2, False)
    counts, more = replay([letter(offset) for offset in range(2, 4)], ReplayOptions(limit=3), Sends(), committed)
    assert (counts.published, more) == (2, True)


def test_a_dry_run_counts_and_does_nothing() -> None:
    producer, committed = Sends(), Committed()
    counts, _ = replay([letter(5), letter(6, value=None)], ReplayOptions(dry_run=True), producer, committed)
    assert (counts.published, counts.skipped) == (1, Counter({EMPTY: 1}))
    assert (producer.records, committed.offsets) == ([], {})


def test_a_record_too_large_for_the_topic_is_skipped() -> None:
    producer, committed = Sends({b"large": MessageSizeTooLargeError()}), Committed()
    counts, _ = replay([letter(5, value=b"large"), letter(6)], ReplayOptions(), producer, committed)
    assert (counts.published, counts.skipped) == (1, Counter({TOO_LARGE: 1}))
    assert list(committed.offsets.values()) == [7]


def test_after_a_failed_send_nothing_is_remembered() -> None:
    producer, committed = Sends({b"late": KafkaTimeoutError()}), Committed()
    with pytest.raises(KafkaTimeoutError):
        replay([letter(5), letter(6, value=b"late")], ReplayOptions(), producer, committed)
    assert committed.offsets == {}


def test_the_outcome_says_what_was_published_and_why_the_rest_was_not() -> None:
    counts = ReplayCounts(1200, Counter({AGAIN: 1, EMPTY: 2}))
    assert outcome(counts, dry_run=False).splitlines() == [
        "1,200 published",
        "2 skipped, with neither key nor value",
        "1 skipped, replayed before: --again",
    ]
    assert outcome(counts, dry_run=True).startswith("1,200 would be published\n")


def test_header_names_of_any_bytes_are_published_as_they_came() -> None:
    producer = Sends()
    odd = letter(5)._replace(headers=[("tr\udce9ce", b"a")])
    counts, _ = replay([odd, odd._replace(key=None)], ReplayOptions(), producer, Committed())
    assert counts.published == 2
    assert producer.records[0][3]["tr\udce9ce"] == b"a"
    assert producer.partitions == [(murmur2(b"u") & 0x7FFFFFFF) % 8, 3]  # by the key, else where it came from
