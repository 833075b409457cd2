"""Dead letters on a real broker: limits that end a worker, the list, and the replay."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_app.contract.dead_letters import dead_letter
from stream_app.contract.decoded import Rejection
from stream_app.contract.predictions import decode_prediction
from stream_app.kafka.clients import new_admin, new_producer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.principals import allow
from tests.integration.running import Running, environment
from tests.integration.topics import Record, read_all, send_all

pytestmark = pytest.mark.broker

Start = Callable[..., Running]
GOOD = b'{"user_id":"u","type":"click","item_id":"i"}'
POISON = [(b"u", b"\xff\xfe"), (b"u", b'{"user_id":"u'), (b"other", GOOD)]


def dead_letters(settings: Settings, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream_app", "dead-letters", *arguments]
    env = environment(settings, arguments) | {"COLUMNS": "100"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def listed(settings: Settings, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in dead_letters(settings, "list", "--json", *arguments).stdout.splitlines()]


def wait_for_dead_letters(worker: Running, settings: Settings, count: int) -> list[Record]:
    worker.wait_until(lambda: len(read_all(settings, settings.dead_letters_topic)) >= count)
    return read_all(settings, settings.dead_letters_topic)


def replays(settings: Settings) -> list[Record]:
    return [record for record in read_all(settings, settings.events_topic) if "nextact.replay" in dict(record.headers)]


def put(settings: Settings, topic: str, partition: int, records: list[Any]) -> None:
    """Writes records with headers, in one transaction, whose marker then is the end of the partition."""

    async def run() -> None:
        allow(settings, "worker", "Write", "TransactionalId", f"put-{topic}")
        producer = new_producer(settings, "worker", transactional_id=f"put-{topic}")
        await producer.start()
        async with producer.transaction():
            for key, value, headers in records:
                await producer.send(topic, value, key, partition=partition, headers=list(headers))
        await producer.stop()

    asyncio.run(run())


def test_bad_records_are_listed_and_replayed_once_and_again_only_on_demand(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    send_all(settings, POISON)
    worker = start("worker")
    worker.wait_ready()
    letters = wait_for_dead_letters(worker, settings, 3)

    shown = dead_letters(settings, "list")
    assert all(len(line) <= 100 for line in shown.stdout.splitlines())
    assert "not_utf8: byte 0 of the value" in shown.stdout
    assert "key_mismatch" in shown.stderr
    assert "3  dead letters" in shown.stderr
    found = {letter["reason"]: letter for letter in listed(settings)}
    assert set(found) == {"not_utf8", "not_json", "key_mismatch"}
    assert found["not_utf8"]["value_base64"] == "//4="
    assert found["key_mismatch"]["value"] == GOOD.decode()
    assert [letter["reason"] for letter in listed(settings, "--reason", "not_json")] == ["not_json"]
    assert len(listed(settings, "--limit", "1")) == 1
    assert len(listed(settings, "--since", "1h")) == 3
    assert listed(settings, "--since", "2100-01-01") == []

    assert "1 would be published" in dead_letters(settings, "replay", "--reason", "not_json", "--dry-run").stdout
    assert "1 published" in dead_letters(settings, "replay", "--reason", "not_json").stdout
    again = dead_letters(settings, "replay", "--reason", "not_json").stdout
    assert "0 published" in again
    (record,) = replays(settings)
    assert (record.key, record.value) == POISON[1]
    origin = next(letter for letter in letters if letter.value == POISON[1][1])
    assert dict(record.headers) == {
        "nextact.replay": b"1",
        "nextact.replay.partition": str(origin.partition).encode(),
        "nextact.replay.offset": str(origin.offset).encode(),
    }

    wait_for_dead_letters(worker, settings, 4)  # nothing was fixed, so it is rejected again
    rest = dead_letters(settings, "replay", "--all").stdout
    assert "2 published" in rest  # the replay of one reason skipped no dead letter of the others
    assert "1 skipped, replayed before: --again" in rest
    wait_for_dead_letters(worker, settings, 6)
    assert [letter["replays"] for letter in listed(settings, "--reason", "not_json")] == [0, 1]
    for dead, published in ((7, 1), (8, 1)):
        out = dead_letters(settings, "replay", "--reason", "not_json", "--again").stdout
        assert f"{published} published" in out
        wait_for_dead_letters(worker, settings, dead)
    out = dead_letters(settings, "replay", "--reason", "not_json", "--again").stdout
    assert "0 published" in out
    assert "replayed 3 times" in out
    assert worker.terminate() == 0


def test_a_replayed_record_that_can_be_read_now_is_answered(settings: Settings, start: Start) -> None:
    """As if an older worker had not known the type yet; read and replayed behind the marker of a transaction."""
    asyncio.run(ensure_topics(settings))
    records = []
    for record in range(5):
        rejected = Rejection(0, "unknown_type", "type is 'click', not one of view")
        source = Record(settings.events_topic, 0, record, 5, 0, b"u", GOOD, None, 0, 0, [("trace", b"abc")])
        records.append(dead_letter(source, rejected))
    put(settings, settings.dead_letters_topic, 2, records)
    assert len(listed(settings)) == 5
    first = dead_letters(settings, "replay", "--partition", "2", "--limit", "2")
    assert "2 published" in first.stdout
    assert "3 published" in dead_letters(settings, "replay", "--all").stdout
    assert "1 published" in dead_letters(settings, "replay", "--partition", "2", "--offset", "4").stdout
    assert "0 published" in dead_letters(settings, "replay", "--all").stdout
    assert [dict(record.headers)["nextact.replay.offset"] for record in replays(settings)] == [
        b"0", b"1", b"2", b"3", b"4", b"4"
    ]  # fmt: skip
    assert {dict(record.headers)["trace"] for record in replays(settings)} == {b"abc"}
    worker = start("worker")
    worker.wait_ready()
    worker.wait_until(lambda: len(read_all(settings, settings.predictions_topic)) == 6)
    assert len({record.partition for record in replays(settings)}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replay"], "--all"),
        (["replay", "--all", "--reason", "not_json"], "--all"),
        (["replay", "--all", "--offset", "3"], "--partition"),
        (["replay", "--partition", "77"], "no partition 77"),
        (["list", "--reason", "bad"], "not_json"),
        (["list", "--since", "yesterday"], "2h"),
    ],
)
def test_errors_are_one_line(settings: Settings, arguments: list[str], message: str) -> None:
    asyncio.run(ensure_topics(settings))
    error = dead_letters(settings, *arguments, code=2).stderr
    assert message in error
    assert len(error.splitlines()) == 1


async def committed(settings: Settings) -> int:
    """Returns how many records of the events topic the workers have acknowledged."""
    admin = new_admin(settings, "worker")
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(settings.group)
    finally:
        await admin.close()
    return sum(int(found.offset) for partition, found in offsets.items() if partition.topic == settings.events_topic)


@pytest.mark.parametrize("limit", ["CONSECUTIVE", "RATIO"])
def test_too_many_dead_letters_end_the_worker_and_are_not_acknowledged(
    settings: Settings, start: Start, tmp_path: Path, limit: str
) -> None:
    chosen = {"dead_letters_consecutive": 40} if limit == "CONSECUTIVE" else {"dead_letters_ratio": 0.5}
    off: dict[str, Any] = {"dead_letters_consecutive": 0, "dead_letters_ratio": 0.0}
    limited = settings.model_copy(update={**off, **chosen, "dead_letters_window": 60, "batch_size": 10})
    asyncio.run(ensure_topics(settings))
    send_all(settings, [(b"u", GOOD)] * 20)
    send_all(settings, [(b"u", b"{")] * 100)
    worker = Running(("worker",), limited, tmp_path / "limited.log")
    try:
        assert worker.wait(60) == 70, worker.tail()
    finally:
        worker.kill()
    (line,) = [line for line in worker.log.read_text().splitlines() if "CRITICAL" in line]
    assert f"NEXTACT_DEAD_LETTERS_{limit}" in line
    assert "not_json, such as" in line
    assert "Traceback" not in worker.tail()
    assert 0 < asyncio.run(committed(settings)) <= 60
    assert len(read_all(settings, settings.dead_letters_topic)) <= 40

    unlimited = start("worker")  # by its defaults that many are fine
    unlimited.wait_ready()
    unlimited.wait_until(lambda: len({letter["source"]["offset"] for letter in listed(settings)}) == 100)
    assert len({decode_prediction(r.value).prediction_id for r in read_all(settings, settings.predictions_topic)}) == 20
