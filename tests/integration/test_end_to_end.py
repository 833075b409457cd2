"""Publish, predict, retrain, reload, kill and restart: on a real broker, with real processes."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_path
from typing import Any

import pytest

from model.versions.version import load
from stream_app.contract.predictions import Prediction, decode_prediction
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.simulate import Shop, with_duplicates, with_poison
from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion, current_champion, publish_promotion
from tests.integration.running import Running
from tests.integration.topics import Record, read_topics, send_all

pytestmark = pytest.mark.broker

Start = Callable[..., Running]


def shop_events(count: int, seed: int = 7) -> list[Any]:
    """Events of simulated shoppers, one in fifty repeated, one in fifty no event at all."""
    rng = random.Random(seed)
    shop = Shop(seed, start=1_700_000_000, rate=50, items=80, users=60)
    return list(with_poison(with_duplicates(shop.events(count), 0.02, rng), 0.02, rng))


@dataclass(frozen=True)
class Seen:
    """All that is in the topics of a stream."""

    events: list[Record]
    predictions: list[tuple[Record, Prediction]]
    dead_letters: list[Record]

    @staticmethod
    def of(settings: Settings) -> Seen:
        topics = (settings.events_topic, settings.predictions_topic, settings.dead_letters_topic)
        events, predictions, dead_letters = read_topics(settings, *topics)
        return Seen(events, [(record, decode_prediction(record.value)) for record in predictions], dead_letters)

    def answered(self) -> Counter[tuple[int, int]]:
        """How often each input offset was answered, by a prediction or a dead letter."""
        found = Counter((p.source.partition, p.source.offset) for _, p in self.predictions)
        for record in self.dead_letters:
            headers = dict(record.headers)
            found[int(headers["nextact.error.partition"]), int(headers["nextact.error.offset"])] += 1
        return found


def expected_lengths(events: list[Record]) -> dict[tuple[int, int], int]:
    """An oracle in plain Python: how many events each valid event's user has, repeated ids left out."""
    lengths: dict[tuple[int, int], int] = {}
    counts: defaultdict[tuple[int, str], int] = defaultdict(int)
    ids: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for record in events:
        try:
            event = json.loads(record.value)
            user = (record.partition, event["user_id"])
        except (ValueError, TypeError, KeyError):
            continue
        if event.get("event_id") not in ids[user][-16:]:
            counts[user] += 1
            ids[user].append(event["event_id"])
        lengths[record.partition, record.offset] = counts[user]
    return lengths


def wait_answered(worker: Running, settings: Settings, timeout: float = 60) -> Seen:
    """Waits until every record of the events topic is answered."""
    seen: list[Seen] = []

    def done() -> bool:
        seen[:] = [Seen.of(settings)]
        return len(seen[0].answered()) >= len(seen[0].events)

    worker.wait_until(done, timeout)
    return seen[0]


def test_every_event_is_answered_once_and_a_killed_worker_goes_on_where_it_was(
    settings: Settings, start: Start
) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(3000)
    send_all(settings, events[:2000])
    worker = start("worker")
    worker.wait_ready()
    before = wait_answered(worker, settings)
    worker.kill()
    send_all(settings, events[2000:])
    second = start("worker")
    second.wait_ready()
    seen = wait_answered(second, settings)

    assert set(before.answered().values()) == {1}
    assert set(seen.answered()) == {(record.partition, record.offset) for record in seen.events}
    lengths = expected_lengths(seen.events)
    for record, prediction in seen.predictions:
        assert record.partition == prediction.source.partition
        assert record.key == prediction.user_id.encode()
        assert prediction.history_length == lengths[prediction.source.partition, prediction.source.offset]
        assert prediction.model_version == "baseline"
        assert sum(prediction.next_type.values()) == pytest.approx(1, abs=1e-4)
    by_offset = {(p.source.partition, p.source.offset): p.prediction_id for _, p in seen.predictions}
    assert len(set(by_offset.values())) == len(by_offset)
    assert second.terminate() == 0


def test_dead_letters_keep_the_record_and_say_why(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    large = b'{"user_id":"u","type":"click","item_id":"i","note":"' + b"x" * 1_000_000 + b'"}'
    send_all(
        settings, [(b"u", b"\xff\xfe"), (b"u", large), (b"other", b'{"user_id":"u","type":"click","item_id":"i"}')]
    )
    worker = start("worker")
    worker.wait_ready()
    seen = wait_answered(worker, settings)

    originals = {(record.partition, record.offset): record for record in seen.events}
    reasons: Counter[str] = Counter()
    for record in seen.dead_letters:
        headers = {name: value.decode() for name, value in record.headers}
        source = int(headers["nextact.error.partition"]), int(headers["nextact.error.offset"])
        assert (record.key, record.value) == (originals[source].key, originals[source].value)
        assert headers["nextact.error.topic"] == settings.events_topic
        reasons[headers["nextact.error.reason"]] += 1
    assert reasons == {"not_utf8": 1, "too_large": 1, "key_mismatch": 1}
    assert not seen.predictions


def test_weights_go_live_without_a_pause_and_a_broken_version_is_refused(
    settings: Settings, start: Start, tmp_path: Path
) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(5000)
    send_all(settings, events[:4000])
    worker = start("worker")
    worker.wait_ready()
    wait_answered(worker, settings)
    trainer = start("trainer", "--once")
    assert trainer.wait(120) == 0, trainer.tail()
    assert "promoted" in trainer.tail()
    first = asyncio.run(current_champion(settings))
    assert first is not None
    worker.wait_until(lambda: worker.metric("nextact_model_info", first.version) == 1)
    send_all(settings, events[4000:4500])
    seen = wait_answered(worker, settings)
    assert {p.model_version for _, p in seen.predictions} == {"baseline", first.version}

    broken = publish_broken_copy(settings, first)
    worker.wait_until(lambda: worker.metric("nextact_reloads_total", "refused") == 1)
    send_all(settings, events[4500:])
    seen = wait_answered(worker, settings)
    assert {p.model_version for _, p in seen.predictions} == {"baseline", first.version}
    assert f"refused version {broken}: hash" in worker.tail()


def test_a_linear_recurrence_is_trained_by_two_processes_and_served(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(2500)
    send_all(settings, events[:2000])
    nextact = str(Path(get_path("scripts"), "nextact"))
    together = ("--nproc-per-node", "2", "--no-python", nextact, "trainer", "--once")
    trainer = start(*together, module="torch.distributed.run", backbone="linear")
    assert trainer.wait(240) == 0, trainer.tail()
    assert "process 2 of 2 trains along" in trainer.log.read_text()
    promoted = asyncio.run(current_champion(settings))
    assert promoted is not None, trainer.tail()
    assert load(f"{settings.registry_address}/{promoted.version}").network.config.backbone == "linear"
    worker = start("worker")
    worker.wait_ready()
    send_all(settings, events[2000:])
    seen = wait_answered(worker, settings)
    assert {prediction.model_version for _, prediction in seen.predictions} == {promoted.version}


def publish_broken_copy(settings: Settings, good: Promotion) -> str:
    """Promotes a copy of a version in which one byte of the weights is another."""
    registry = Path(settings.registry)
    place = registry / "broken"
    place.mkdir()
    for file in (registry / good.version).iterdir():
        content = bytearray(file.read_bytes())
        if file.suffix == ".safetensors":
            content[-1] ^= 1
        (place / file.name).write_bytes(content)
    promotion = Promotion(
        version="broken",
        manifest_sha256=good.manifest_sha256,
        promoted_at=good.promoted_at,
        metrics={},
    )
    asyncio.run(publish_promotion(promotion, settings))
    return promotion.version


def test_two_workers_share_the_partitions_and_a_leaver_hands_over(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(3000)
    send_all(settings, events[:1000])
    first, second = start("worker"), start("worker")
    first.wait_ready()
    second.wait_ready()
    first.wait_until(
        lambda: first.metric("nextact_partitions") == 2 and second.metric("nextact_partitions") == 2, needs=(second,)
    )
    send_all(settings, events[1000:2000])
    wait_answered(first, settings)
    assert first.terminate() == 0
    second.wait_until(lambda: second.metric("nextact_partitions") == 4 and second.metric("nextact_ready") == 1)
    send_all(settings, events[2000:])
    seen = wait_answered(second, settings)

    lengths = expected_lengths(seen.events)
    for _, prediction in seen.predictions:
        assert prediction.history_length == lengths[prediction.source.partition, prediction.source.offset]
