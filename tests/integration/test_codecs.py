"""Every codec as a publisher's and as a topic's setting, and records that nobody should have written."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream_app.contract.predictions import decode_prediction
from stream_app.contract.records import OutgoingRecord
from stream_app.contract.topics import topics
from stream_app.kafka.clients import new_admin, new_consumer, new_producer
from stream_app.kafka.compression import CODECS
from stream_app.kafka.encoded_batch import EncodedBatch, encode_records
from stream_app.kafka.record_reader import header_of, split
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.cluster import Broker
from stream_app.settings import Compression, Settings
from stream_app.versions.promotions import VersionRef, current_champion, promoted_after, publish_promotion
from tests.integration.principals import allow, reader_of
from tests.integration.running import Running, nextact
from tests.integration.topics import read_all

pytestmark = pytest.mark.broker

Start = Callable[..., Running]
NAMES: list[Compression] = ["gzip", "snappy", "lz4", "zstd"]
MIB = 1024 * 1024
ODD = b"trac\xe9".decode(errors="surrogateescape")  # a header's name in Latin-1


def event(user: str, number: int) -> OutgoingRecord:
    value = {"user_id": user, "type": "view", "item_id": f"item {number}", "event_id": f"{user} {number}"}
    return OutgoingRecord(user.encode(), json.dumps(value).encode())


def events(users: Sequence[str], numbers: range) -> Iterator[tuple[int, OutgoingRecord]]:
    """Events, each with the partition of its user."""
    for number in numbers:
        for user in users:
            yield int(user.split()[-1]) % 4, event(user, number)


async def publish_in(settings: Settings, codec: str | None, records: Sequence[tuple[int, OutgoingRecord]]) -> None:
    """Publishes by aiokafka's own compression."""
    options = {"compression_type": codec, "max_request_size": 40 * MIB, "linger_ms": 20}
    async with new_producer(settings, "publisher", **options) as producer:
        sent = [
            await producer.send(settings.events_topic, value, key, partition=partition)
            for partition, (key, value, _) in records
        ]
        await asyncio.gather(*sent)


async def publish_by_hand(
    settings: Settings, partition: int, records: Sequence[OutgoingRecord], compression: Compression = "none"
) -> None:
    """Publishes records as one batch, as aiokafka would not make it."""
    (batch,) = encode_records(records, largest=2**40, compression=compression)
    async with new_producer(settings, "publisher") as producer:
        encoded = EncodedBatch(batch, time=datetime.now(UTC).timestamp(), transactional=False)
        await (await producer.send_batch(encoded, settings.events_topic, partition=partition))


async def make_topics(settings: Settings, configs: dict[str, dict[str, str]]) -> None:
    """Makes topics as somebody else would have, with these settings and no others."""
    admin = new_admin(settings, "operator")
    await admin.start()
    try:
        counts = {spec.name: spec.partitions for spec in topics(settings)}
        await admin.create_topics(
            [NewTopic(name, counts[name], 1, topic_configs=config) for name, config in configs.items()]
        )
    finally:
        await admin.close()


async def compress_topics(settings: Settings, codecs: Mapping[str, str]) -> None:
    """Has the broker compress what topics get from now on, whatever it comes in."""
    admin = new_admin(settings, "operator")
    await admin.start()
    try:
        for spec in topics(settings):
            allow(settings, "operator", "AlterConfigs", "Topic", spec.name)
            config = {**spec.config, "compression.type": codecs[spec.name]}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name, configs=config)])
    finally:
        await admin.close()


def segments(kafka: Broker, topic: str, partition: int = 0) -> list[Path]:
    """The files in which the broker keeps a partition."""
    return sorted(kafka.data_dir.rglob(f"{topic}-{partition}/*.log"))


def codecs_on_disk(kafka: Broker, settings: Settings, topic: str) -> set[int]:
    """The codecs of a topic's batches, as the broker keeps them."""
    files = [file for partition in range(settings.partitions) for file in segments(kafka, topic, partition)]
    return {header_of(batch).codec for file in files for batch in split(file.read_bytes())}


def answered(settings: Settings) -> Counter[str]:
    """How often each event was answered, by its id."""
    records = read_all(settings, settings.predictions_topic)
    return Counter(str(decode_prediction(record.value).event_id) for record in records)


def dead_letters(settings: Settings) -> list[dict[str, Any]]:
    done = nextact("dead-letters", "list", "--json", settings=settings)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def batch_starts(settings: Settings, partition: int) -> int:
    """The offset that the next record of an events partition gets."""
    async with new_consumer(settings, reader_of(settings, settings.events_topic)) as consumer:
        tp = TopicPartition(settings.events_topic, partition)
        return int((await consumer.end_offsets([tp]))[tp])


def damage(file: Path, offset: int) -> None:
    """Changes a byte of the batch at an offset, on the broker's disk."""
    data = file.read_bytes()
    (batch,) = [batch for batch in split(data) if batch.base_offset == offset]
    at = data.index(batch.data) + len(batch.data) - 3
    with file.open("r+b") as changed:
        changed.seek(at)
        changed.write(bytes([data[at] ^ 1]))


def test_one_worker_answers_every_codec_and_no_record_ends_it(kafka: Broker, settings: Settings, start: Start) -> None:
    """The dead letters topic was made by somebody who knew nothing of large ones: it takes a mebibyte."""
    users = [f"user {number}" for number in range(8)]
    asyncio.run(make_topics(settings, {settings.dead_letters_topic: {}}))
    asyncio.run(ensure_topics(settings, "operator"))
    # One batch of a partition is damaged on the disk before anybody has read it.
    lost = [event("user 4", number) for number in (900, 901, 902)]
    asyncio.run(publish_by_hand(settings, 0, lost))
    (file,) = segments(kafka, settings.events_topic, 0)
    damage(file, 0)
    worker = start("worker")
    worker.wait_ready()

    for round_number, codec in enumerate([None, *NAMES]):
        begin = 100 * round_number
        asyncio.run(publish_in(settings, codec, list(events(users, range(begin, begin + 5)))))
    odd = [
        event("user 1", 700),
        OutgoingRecord(*event("user 1", 701)[:2], [(ODD, b"x"), ("trace", None)]),
        OutgoingRecord(b"user 1", b"{", [(ODD, b"x")]),
        event("user 1", 702),
    ]
    asyncio.run(publish_by_hand(settings, 1, odd))
    bomb_at = asyncio.run(batch_starts(settings, 2))
    asyncio.run(publish_by_hand(settings, 2, [OutgoingRecord(b"user 2", bytes(45 * MIB))] * 3, "zstd"))
    large = [
        (3, OutgoingRecord(b"user 3", bytes(1_048_300))),
        (3, OutgoingRecord(b"user 3", b"{" + bytes(17 * MIB))),
        (3, event("user 3", 703)),
    ]
    asyncio.run(publish_in(settings, None, large[:1]))
    asyncio.run(publish_in(settings, "gzip", large[1:2]))
    asyncio.run(publish_in(settings, "gzip", large[2:]))

    wanted = {f"{user} {100 * n + number}" for user in users for n in range(5) for number in range(5)}
    wanted |= {"user 1 700", "user 1 701", "user 1 702", "user 3 703"}
    worker.wait_until(lambda: set(answered(settings)) >= wanted)
    worker.wait_until(lambda: worker.metric("nextact_unreadable_records_total", "too_large") == 3)
    assert worker.metric("nextact_unreadable_records_total", "unreadable") == 3
    assert set(answered(settings).values()) == {1}

    letters = {(letter["reason"], letter["source"]["partition"]): letter for letter in dead_letters(settings)}
    assert letters["unreadable", 0]["source"] | {"timestamp": 0} == {
        "topic": settings.events_topic, "partition": 0, "first_offset": 0, "offset": 2, "timestamp": 0,
    }  # fmt: skip
    assert "its checksum is" in letters["unreadable", 0]["message"]
    bomb = letters["too_large", 2]
    assert (bomb["source"]["first_offset"], bomb["source"]["offset"]) == (bomb_at, bomb_at + 2)
    assert "in zstd unpack to more than 134,217,728" in bomb["message"]
    assert (bomb["value"], bomb["key"]) == (None, None)
    assert letters["not_json", 1]["headers"] == [{"name_base64": "dHJhY+k=", "value": "x"}]
    cut = [letter for letter in dead_letters(settings) if letter["reason"] == "too_large" and "cut" in letter]
    assert sorted(letter["value_bytes"] for letter in cut) == [1_048_300, 17 * MIB + 1]
    assert all(900_000 < len(letter["value"]) < 1_048_588 for letter in cut)

    replayed = nextact("dead-letters", "replay", "--all", settings=settings)
    assert "1 published" in replayed.stdout
    assert "2 skipped, cut to what their topic takes" in replayed.stdout
    assert "2 skipped, stand for batches that cannot be read" in replayed.stdout
    worker.wait_until(lambda: worker.metric("nextact_dead_letters_total", "not_json") == 2)
    again = [letter for letter in dead_letters(settings) if letter["replays"]]
    assert [letter["headers"] for letter in again] == [letters["not_json", 1]["headers"]]

    trainer = start("trainer", train_min_events=2_000_000)
    trainer.wait_until(lambda: trainer.metric("nextact_trainer_events_total") == len(wanted))
    assert trainer.metric("nextact_trainer_rejected_total") == 3 + 3 + 2 + 2  # by records, not by batches
    assert (trainer.terminate(), worker.terminate()) == (0, 0)


def test_topics_may_have_any_codec_and_workers_write_any(kafka: Broker, settings: Settings, start: Start) -> None:
    """Each round every topic has another codec; at the end a new worker recovers from a changelog in all of them."""
    users = [f"user {number}" for number in range(8)]
    asyncio.run(ensure_topics(settings, "operator"))
    names = [spec.name for spec in topics(settings)]
    written = itertools.cycle(["none", *NAMES])
    last = None
    for number in range(len(NAMES)):
        codecs = {name: NAMES[(number + n) % len(NAMES)] for n, name in enumerate(names)}
        asyncio.run(compress_topics(settings, codecs))
        worker = start("worker", compression=next(written))
        worker.wait_ready()
        champion = asyncio.run(current_champion(settings))
        last = promoted_after(
            champion, VersionRef(version=f"v{number}", manifest_sha256="0" * 64), {}, datetime.now(UTC)
        )
        asyncio.run(publish_promotion(last, settings))
        bad = (0, OutgoingRecord(b"user 0", b"not json " * 20))
        asyncio.run(publish_in(settings, None, [*events(users, range(10 * number, 10 * number + 10)), bad]))
        wanted = {f"{user} {n}" for user in users for n in range(10 * number + 10)}
        worker.wait_until(lambda wanted=wanted: set(answered(settings)) == wanted)  # type: ignore[misc]
        assert worker.terminate() == 0
    assert asyncio.run(current_champion(settings)) == last
    assert len(dead_letters(settings)) == len(NAMES)
    for name in names:
        unused = (settings.canary_topic, settings.items_topic, settings.joins_topic, settings.statistics_topic)
        if name not in unused:
            assert codecs_on_disk(kafka, settings, name) >= {CODECS[codec] for codec in NAMES}, name

    shutil.rmtree(settings.data_dir)
    worker = start("worker", compression="zstd")
    worker.wait_ready()
    asyncio.run(publish_in(settings, "zstd", list(events(users, range(500, 501)))))
    worker.wait_until(lambda: len(answered(settings)) == 8 * 41)
    newest = [decode_prediction(record.value) for record in read_all(settings, settings.predictions_topic)]
    lengths = {answer.user_id: answer.history_length for answer in newest if str(answer.event_id).endswith(" 500")}
    assert lengths == dict.fromkeys(users, 41)
    assert worker.terminate() == 0
