"""Any worker answers for any user: it asks the one that owns the user's partition."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections import Counter
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


def check_answers(worker: Running, seen: Seen, owners: Mapping[int, str]) -> Counter[str]:
    """Asks a worker about every user; each answer is the newest prediction of that user, or one from their state after
    the same event, of the owner. Returns how many there are of each."""
    sources: Counter[str] = Counter()
    for user, (partition, prediction) in newest(seen).items():
        answer = ask(worker, about(user))
        assert answer.status == 200, answer
        assert answer.content["user_id"] == user
        shown, source = answer.content["prediction"], answer.content["source"]
        sources[source] += 1
        if source == "published":
            assert shown == prediction
        else:
            same = ("user_id", "history_length")
            assert {name: shown[name] for name in same} == {name: prediction[name] for name in same}
        assert (answer.content["partition"], answer.content["worker"]) == (partition, owners[partition])
    return sources


def owners_of(*workers: Running) -> dict[int, str]:
    """The name of the worker that owns each partition."""
    said = [ask(worker, "/v1/worker").content for worker in workers]
    return {partition: one["worker"] for one in said for partition in one["partitions"]}


def test_any_worker_answers_for_any_user_and_goes_on_after_a_kill(settings: Settings, start: Start) -> None:
    asyncio.run(ensure_topics(settings))
    events = shop_events(1500)
    first, second = start("worker"), start("worker")
    share_partitions(first, second)
    for worker in (first, second):  # from the first question on answers are kept
        assert ask(worker, "/v1/users").content == {"users": []}
        assert ask(worker, about("nobody")).code == "unknown_user"
    send_all(settings, events[:1000])
    seen = wait_answered(first, settings)
    owners = owners_of(first, second)
    assert sorted(owners) == [0, 1, 2, 3]
    assert len(set(owners.values())) == 2
    for worker in (first, second):
        assert check_answers(worker, seen, owners).keys() == {"published"}

    second.kill()
    first.wait_until(lambda: first.metric("nextact_partitions") == 4 and first.metric("nextact_ready") == 1)
    send_all(settings, events[1000:])
    assert check_answers(first, wait_answered(first, settings), owners_of(first)).keys() == {"published", "state"}


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
