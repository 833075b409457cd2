"""With each right of a role taken away once, what ends says in one line which it is."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from stream_app.contract.access import grants
from stream_app.kafka.clients import new_admin
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.sandbox.access_admin import Acl, give_rights, remove_acls
from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings
from tests.integration.running import Running, nextact
from tests.integration.topics import send_all

pytestmark = pytest.mark.broker

_numbers = itertools.count(1)

EVENTS = [(b"ada", b'{"user_id":"ada","type":"view","item_id":"1"}')] * 20


class Stream:
    """A stream on the secured broker, all of whose roles have their rights."""

    def __init__(self, broker: Broker, name: str, folder: Path) -> None:
        topics = {field: f"{name}.{field}" for field in Settings.model_fields if field.endswith("_topic")}
        own = {"group": name, "partitions": 2, "device": "cpu", "data_dir": folder, "delivery": "exactly-once"}
        self._broker, self._fields = broker, topics | own
        self.admin = self.of("admin")
        asyncio.run(ensure_topics(self.admin))
        asyncio.run(give_rights(self.admin))

    def of(self, user: str) -> Settings:
        """The settings of a user."""
        return Settings(**self._broker.secure.settings_for(user) | self._fields)

    def take(self, role: str, operation: str, name: str) -> None:
        """Takes a right on a topic, group or transactional ids away from a role."""
        (grant,) = [one for one in grants(self.admin) if (one.role, one.operation, one.name) == (role, operation, name)]

        async def run() -> None:
            async with new_admin(self.admin, "operator") as admin:
                await remove_acls(admin, [Acl.of(grant)])

        asyncio.run(run())


@pytest.fixture
def stream(secured: Broker, tmp_path: Path) -> Stream:
    return Stream(secured, f"rights-{next(_numbers)}", tmp_path)


@pytest.mark.parametrize(
    ("role", "command", "operation", "topic"),
    [
        ("subscriber", ["watch", "--from-start", "--count", "1"], "Read", "predictions_topic"),
        ("publisher", ["simulate", "--events", "10"], "Write", "events_topic"),
        ("trainer", ["trainer", "--once"], "Read", "events_topic"),
    ],
)
def test_a_command_without_a_right_says_which(
    stream: Stream, role: str, command: list[str], operation: str, topic: str
) -> None:
    stream.take(role, operation, getattr(stream.admin, topic))
    done = nextact(*command, settings=stream.of(role))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"the right to {operation} on topic '{stream.admin.group}.{topic}' is missing" in done.stderr


@pytest.mark.parametrize(
    ("operation", "name", "named"),
    [
        ("Read", "GROUP.events_topic", "Read on topic 'GROUP.events_topic'"),
        ("Read", "GROUP", "Read on group 'GROUP'"),
        ("Write", "GROUP.predictions_topic", "Write on topic 'GROUP.predictions_topic'"),
        ("Write", "GROUP.GROUP.events_topic.", "Write on transactional id 'GROUP.GROUP.events_topic."),
    ],
)
def test_a_worker_that_loses_a_right_ends_and_says_which(
    stream: Stream, tmp_path: Path, operation: str, name: str, named: str
) -> None:
    group = stream.admin.group
    worker = Running(["worker"], stream.of("worker"), tmp_path / "worker.log")
    try:
        worker.wait_ready()
        stream.take("worker", operation, name.replace("GROUP", group))
        send_all(stream.admin, EVENTS)
        code = worker.wait(60)
    finally:
        worker.kill()
    last = worker.log.read_text().splitlines()[-1]
    assert code == 70, last
    assert f"this worker ends: not authorised at Kafka: the right to {named.replace('GROUP', group)}" in last
