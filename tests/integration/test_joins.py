"""What anonymous users did goes over to who they turn out to be: real workers, on a real broker, in both deliveries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from xxhash import xxh3_64_intdigest

from stream_app.contract.predictions import decode_prediction
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.faults.joined import all_read
from tests.faults.oracle import final_states
from tests.faults.stream import lag
from tests.integration.running import Running
from tests.integration.test_end_to_end import Start
from tests.integration.topics import read_all, send_all

pytestmark = pytest.mark.broker

START_MS = 1_700_000_000_000


@pytest.fixture(params=["at-least-once", "exactly-once"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return settings.model_copy(update={"delivery": request.param})


def view(user: str, number: int) -> tuple[bytes, bytes]:
    event = {"user_id": user, "type": "view", "item_id": f"{number}", "timestamp": START_MS + 60_000 * number}
    return user.encode(), json.dumps(event).encode()


def identify(user: str, anonymous: str, *, key: str) -> tuple[bytes, bytes]:
    return key.encode(), json.dumps({"type": "identify", "user_id": user, "anonymous_id": anonymous}).encode()


def items(settings: Settings) -> dict[str, list[int]]:
    """The numbers of the items in each user's sequence, by the newest records of the changelog."""
    numbers = {xxh3_64_intdigest(f"{number}".encode()): number for number in range(100)}
    states = final_states(read_all(settings, settings.state_topic, isolation="read_committed"))
    return {user: [numbers[item] for _, item in stored.actions] for (_, user), stored in states.items()}


def wait_for(worker: Running, settings: Settings, wanted: dict[str, list[int]]) -> None:
    found: list[Any] = []

    def is_so() -> bool:
        found[:] = [items(settings)]
        return bool(found[0] == wanted)

    try:
        worker.wait_until(is_so, 20)
    except AssertionError as error:
        raise AssertionError(f"{found} instead of {wanted}") from error


def send(settings: Settings, records: Iterable[tuple[bytes, bytes]]) -> None:
    send_all(settings, list(records))


async def all_committed(settings: Settings) -> bool:
    return await lag(settings) == 0 and await all_read(settings)


def test_a_sequence_becomes_the_beginning_of_the_known_users(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    send(settings, [view("a", 1), view("a", 2), identify("u", "a", key="a"), view("a", 4), view("u", 3)])
    worker = start("worker")
    worker.wait_ready()
    wait_for(worker, settings, {"a": [4], "u": [1, 2, 3]})
    send(settings, [identify("u", "a", key="u")])
    wait_for(worker, settings, {"a": [], "u": [1, 2, 3, 4]})
    send(settings, [identify("u", "a", key="a"), identify("u", "a", key="u")])  # nothing is left to give
    worker.wait_until(lambda: worker.metric("nextact_joins_total", "empty") == 2)
    assert worker.metric("nextact_joins_total", "applied") == 2
    worker.wait_until(lambda: asyncio.run(all_committed(settings)))  # else it would be told of once more
    worker.kill()

    second = start("worker")
    second.wait_ready()
    send(settings, [view("u", 5), view("a", 6)])
    wait_for(second, settings, {"a": [6], "u": [1, 2, 3, 4, 5]})
    assert second.metric("nextact_joins_total", "applied") == 0
    assert second.terminate() == 0
    lengths: dict[str, list[int]] = {}
    for record in read_all(settings, settings.predictions_topic, isolation="read_committed"):
        lengths.setdefault(decode_prediction(record.value).user_id, []).append(
            decode_prediction(record.value).history_length
        )
    assert lengths == {"a": [1, 2, 1, 1], "u": [1, 2]}


def test_several_people_on_a_device_each_get_what_they_did(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    records = [view("a", 1), identify("u", "a", key="a"), view("a", 2), view("a", 3), identify("v", "a", key="a")]
    send(settings, [*records, view("a", 4), identify("u", "a", key="a")])
    worker = start("worker")
    worker.wait_ready()
    wait_for(worker, settings, {"a": [], "u": [1, 4], "v": [2, 3]})
    assert worker.terminate() == 0


def test_without_the_topic_identities_are_passed_over(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    send(settings, [view("a", 1), identify("u", "a", key="a"), view("a", 2)])
    worker = start("worker", joins_topic="nobody.made.it", create_topics=False)
    worker.wait_ready()
    wait_for(worker, settings, {"a": [1, 2]})
    assert "identities are ignored" in worker.log.read_text()
    assert worker.terminate() == 0
