"""Any worker answers for any user: it asks the one that owns the user's partition."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from tests.integration.running import Running
from tests.integration.test_end_to_end import Seen, shop_events, wait_answered
from tests.integration.topics import send_all

pytestmark = pytest.mark.broker

Start = Callable[..., Running]
TOKEN = {"Authorization": "Bearer secret-of-the-shop"}


class Asked(NamedTuple):
    """How a question was answered."""

    status: int
    content: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        return str(self.content["error"]["code"])


def ask(worker: Running, path: str, headers: Mapping[str, str] | None = None) -> Asked:
    request = urllib.request.Request(worker.api + path, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return Asked(response.status, json.loads(response.read()), dict(response.headers))
    except urllib.error.HTTPError as error:
        return Asked(error.code, json.loads(error.read()), dict(error.headers))


def about(user: str) -> str:
    return f"/v1/users/{quote(user, safe='')}"


def newest(seen: Seen) -> dict[str, tuple[int, Any]]:
    """Each user's newest published prediction, and its partition."""
    return {prediction.user_id: (record.partition, json.loads(record.value)) for record, prediction in seen.predictions}


def share_partitions(first: Running, second: Running) -> None:
    first.wait_until(
        lambda: all(
            one.metric("nextact_partitions") == 2 and one.metric("nextact_ready") == 1 for one in (first, second)
        ),
        needs=(second,),
    )


def check_answers(worker: Running, seen: Seen, owners: Mapping[int, str], since: int = 0) -> None:
    """Asks a worker about every user of the events from a number on; each answer is the newest prediction of that
    user, of the owner."""
    active = {record.key for record in sorted(seen.events, key=lambda record: record.timestamp)[since:]}
    for user, (partition, prediction) in newest(seen).items():
        if user.encode() not in active:
            continue
        answer = ask(worker, about(user))
        assert answer.status == 200, answer
        assert answer.content["user_id"] == user
        assert answer.content["prediction"] == prediction
        assert (answer.content["partition"], answer.content["worker"]) == (partition, owners[partition])


def owners_of(*workers: Running) -> dict[int, str]:
    """The name of the worker that owns each partition."""
    said = [ask(worker, "/v1/worker").content for worker in workers]
    return {partition: one["worker"] for one in said for partition in one["partitions"]}


def test_any_worker_answers_for_any_user_and_goes_on_after_a_kill(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(1500)
    first, second = start("worker"), start("worker")
    share_partitions(first, second)
    send_all(settings, events[:1000])
    seen = wait_answered(first, settings)
    owners = owners_of(first, second)
    assert sorted(owners) == [0, 1, 2, 3]
    assert len(set(owners.values())) == 2
    for worker in (first, second):
        check_answers(worker, seen, owners)

    second.kill()
    first.wait_until(lambda: first.metric("nextact_partitions") == 4 and first.metric("nextact_ready") == 1)
    send_all(settings, events[1000:])
    check_answers(first, wait_answered(first, settings), owners_of(first), since=len(seen.events))


def test_a_worker_that_came_back_on_another_port_is_found_without_a_rebalance(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(1500)
    first, second = [start("worker", instance_id=name, session_timeout=30.0, api_port=0) for name in ("one", "two")]
    share_partitions(first, second)
    before = first.log.read_text().count("answering on")
    second.kill()
    again = start("worker", instance_id="two", session_timeout=30.0, api_port=0)
    again.wait_ready()
    assert again.api != second.api
    send_all(settings, events)
    seen = wait_answered(again, settings)
    owners = owners_of(first, again)
    assert set(owners.values()) == {"one", "two"}
    for worker in (first, again):
        check_answers(worker, seen, owners)
    assert first.log.read_text().count("answering on") == before
