"""Brokers that do not answer, or refuse; topics themselves are made and checked on a real one, in tests/integration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest_v5

from stream_app.errors import AuthorizationFailed, BrokerUnreachable, TopicMismatch
from stream_app.kafka import clients, topic_admin
from stream_app.settings import load_settings
from tests.unit.builders.leanings import Leaning

SETTINGS = load_settings({"replication": 1, "brokers": "127.0.0.1:1"})
EVENTS = SETTINGS.events_topic

Answer = Callable[[str], int]  # error code of a topic


class Admin(clients.AdminClient):
    """An admin client of a cluster that answers as the test wants; remembers what was asked."""

    def __init__(self, **_: object) -> None:
        self.made: list[tuple[str, dict[str, str]]] = []
        self.settings = SETTINGS

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [1], "cluster_id": "c"}

    async def _send_request(self, request: Any) -> Any:
        sent = request.build(MetadataRequest_v5)
        assert not sent.allow_auto_topic_creation
        partitions = [{"replicas": [1]}] * SETTINGS.partitions
        described = [
            {"topic": name, "error_code": self.described(name), "partitions": partitions} for name in sent.topics
        ]
        return SimpleNamespace(to_object=lambda: {"topics": described})

    async def create_topics(self, topics: list[Any], timeout_ms: int) -> Any:
        (topic,) = topics
        code = self.creation(topic.topic_configs)
        if not code:
            self.made.append((topic.name, topic.topic_configs))
        return SimpleNamespace(topic_errors=[(topic.name, code, "because")])

    async def describe_configs(self, resources: list[Any]) -> Any:
        return [SimpleNamespace(resources=[(29, None, 2, resource.name, []) for resource in resources])]

    def described(self, name: str) -> int:
        return 0 if any(made == name for made, _ in self.made) else 3

    def creation(self, config: dict[str, str]) -> int:
        return 0


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    one = Admin()
    monkeypatch.setattr(clients, "AdminClient", lambda **_: one)
    return one


def test_a_broker_that_goes_away_is_named_with_what_to_do(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise NodeNotReadyError("node id 2")

    monkeypatch.setattr(admin, "_send_request", broken)
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1 refuses connections.*--brokers"):
        asyncio.run(topic_admin.ensure_topics(SETTINGS))


def test_a_publisher_looks_at_events_only_and_makes_them(admin: Admin) -> None:
    (report,) = asyncio.run(topic_admin.ensure_topics(SETTINGS, "publisher"))
    assert (report.name, report.partitions, report.created) == (EVENTS, SETTINGS.partitions, True)
    assert admin.made == [(EVENTS, {})]


@pytest.mark.parametrize("never", [{"create": False}, {"setting": False}])
def test_nothing_is_made_by_who_is_not_to(admin: Admin, never: dict[str, bool]) -> None:
    settings = SETTINGS.model_copy(update={"create_topics": never.pop("setting", True)})
    with pytest.raises(TopicMismatch, match=r"missing topics: shop\.events \(8 partitions\)"):
        asyncio.run(topic_admin.ensure_topics(settings, "publisher", **never))
    assert not admin.made


def test_who_may_not_make_a_topic_reads_which_right_is_missing(admin: Admin) -> None:
    admin.creation = lambda config: 29  # type: ignore[method-assign]
    with pytest.raises(TopicMismatch, match=r"shop\.events \(8 partitions\).*the right Create"):
        asyncio.run(topic_admin.ensure_topics(SETTINGS, "publisher"))


def test_a_topic_gets_the_brokers_own_size_where_ours_is_refused(
    admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    admin.creation = lambda config: 44 if config else 0  # type: ignore[method-assign]
    name = SETTINGS.dead_letters_topic
    asyncio.run(topic_admin.ensure_topics(SETTINGS, "operator", name))
    assert admin.made == [(name, {})]
    assert "max.message.bytes, as it refuses 16777216" in caplog.text


def test_without_the_right_to_see_how_topics_are_set_they_are_taken_for_what_kafka_makes_by_default(
    admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    admin.described = lambda name: 0  # type: ignore[method-assign]
    wanted = (SETTINGS.predictions_topic, SETTINGS.dead_letters_topic)
    assert asyncio.run(topic_admin.message_limits(SETTINGS, "worker", *wanted)) == dict.fromkeys(wanted, 1_048_588)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "shop.predictions, shop.events.dead-letters" in warning.getMessage()
    assert "grant DescribeConfigs" in warning.getMessage()
    caplog.clear()
    assert asyncio.run(topic_admin.message_limits(SETTINGS, "worker", EVENTS)) == {EVENTS: 1_048_588}
    assert not caplog.records  # no right to see it is listed, so nobody asks


def test_a_topic_that_may_not_be_seen_is_not_taken_for_a_missing_one(admin: Admin) -> None:
    admin.described = lambda name: 29  # type: ignore[method-assign]
    with pytest.raises(AuthorizationFailed, match=r"the right to Write on topic 'shop\.events'"):
        asyncio.run(topic_admin.ensure_topics(SETTINGS, "publisher"))
    assert not admin.made


def test_leanings() -> None:
    Leaning(
        AIOKafkaAdminClient._send_request,
        "request node_id",
        "topic_admin",
        "describes topics without making them, which no public method can",
    ).check()
