"""Each role makes and checks its own topics: on a real broker, and on one that grants only what is listed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator

import pytest
from aiokafka.admin import NewTopic
from prometheus_client import CollectorRegistry

from stream_app.contract.access import ROLES, Role, grants, topics_of
from stream_app.errors import TopicMismatch
from stream_app.items.follower import ItemsFollower
from stream_app.items.metrics import ItemMetrics
from stream_app.kafka.clients import new_admin
from stream_app.kafka.topic_admin import changelog_facts, ensure_topics, message_limits
from stream_app.sandbox.access_admin import Acl, add_acls, give_rights, remove_acls
from stream_app.sandbox.cluster import Broker
from stream_app.settings import Settings
from tests.integration.principals import allow

pytestmark = pytest.mark.broker


async def names(settings: Settings) -> set[str]:
    admin = new_admin(settings, "operator")
    await admin.start()
    found = set(await admin.list_topics())
    await admin.close()
    return found & {spec for role in ROLES for spec in topics_of(settings, role)}


async def make(settings: Settings, topic: str, **config: str) -> None:
    admin = new_admin(settings, "operator")
    await admin.start()
    configs = {key.replace("_", "."): value for key, value in config.items()}
    await admin.create_topics([NewTopic(topic, settings.partitions, 1, topic_configs=configs)])
    await admin.close()


def test_a_role_makes_its_own_topics_and_no_others(settings: Settings) -> None:
    several: tuple[tuple[Role, int], ...] = (("publisher", 1), ("trainer", 3), ("worker", 6))
    for role, count in several:
        for topic in topics_of(settings, role):
            allow(settings, role, "Create", "Topic", topic)
        asyncio.run(ensure_topics(settings, role))
        assert len(asyncio.run(names(settings))) == count, role


def test_a_topic_that_takes_too_little_is_told_before_anything_is_written(settings: Settings) -> None:
    asyncio.run(make(settings, settings.predictions_topic, max_message_bytes="100000"))
    asyncio.run(ensure_topics(settings, "operator", *topics_of(settings, "worker") - {settings.predictions_topic}))
    with pytest.raises(TopicMismatch, match=r"predictions.*100,000.*900,000"):
        asyncio.run(ensure_topics(settings, "worker"))


def test_how_much_a_topic_takes(settings: Settings) -> None:
    asyncio.run(ensure_topics(settings))
    wanted = (settings.predictions_topic, settings.dead_letters_topic)
    assert list(asyncio.run(message_limits(settings, "worker", *wanted)).values()) == [1_048_588, 16 * 2**20]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("secured")
    with Broker(folder / "kafka", secure=folder / "secure") as broker:
        yield broker


def of(broker: Broker, user: str, **changes: object) -> Settings:
    return Settings(**{**broker.secure.settings_for(user), **changes})


async def take(settings: Settings, acls: set[Acl]) -> None:
    admin = new_admin(settings, "operator")
    await admin.start()
    await remove_acls(admin, acls)
    await admin.close()


async def give(settings: Settings, acls: set[Acl]) -> None:
    admin = new_admin(settings, "operator")
    await admin.start()
    await add_acls(admin, acls)
    await admin.close()


def optional_topics(settings: Settings) -> set[str]:
    """Without these all goes on."""
    return {settings.items_topic, settings.joins_topic, settings.statistics_topic}


def test_with_the_listed_rights_each_role_finds_its_topics_and_only_the_operator_makes_them(
    secured: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(give_rights(of(secured, "admin")))
    with pytest.raises(TopicMismatch, match=r"missing topics: shop\.[\w.-]+ \(.*the right Create"):
        asyncio.run(ensure_topics(of(secured, "worker"), "worker"))
    asyncio.run(ensure_topics(of(secured, "operator"), "operator"))
    for role in ROLES:
        reports = asyncio.run(ensure_topics(of(secured, role), role))
        optional = set() if role == "operator" else optional_topics(of(secured, role))
        assert {report.name for report in reports} == topics_of(of(secured, role), role) - optional
        for name in optional & topics_of(of(secured, role), role):
            (report,) = asyncio.run(ensure_topics(of(secured, role), role, name))
            assert (report.name, report.created) == (name, False)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_who_may_not_read_the_catalogue_has_none(secured: Broker, caplog: pytest.LogCaptureFixture) -> None:
    admin, settings = of(secured, "admin"), of(secured, "trainer")
    asyncio.run(give_rights(admin))
    asyncio.run(ensure_topics(admin))
    ours = {grant for grant in grants(admin) if (grant.role, grant.name) == ("trainer", settings.items_topic)}
    asyncio.run(take(admin, acls := set(map(Acl.of, ours))))

    async def follow() -> int:
        follower = ItemsFollower(settings, "trainer", ItemMetrics(CollectorRegistry()), time.time)
        await follower.start()
        await follower.stop()
        return len(follower.catalogue)

    with caplog.at_level(logging.INFO):
        assert asyncio.run(follow()) == 0
    assert "no catalogue: not authorised at Kafka: the right to Read on topic 'shop.items' is missing" in caplog.text
    asyncio.run(give(admin, acls))


@pytest.mark.parametrize("role", ["worker", "trainer"])
def test_who_may_not_see_how_topics_are_set_goes_on_with_a_warning(
    secured: Broker, role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    admin = of(secured, "admin")
    asyncio.run(give_rights(admin))
    asyncio.run(ensure_topics(admin))
    acls = {Acl.of(grant) for grant in grants(admin) if (grant.role, grant.operation) == (role, "DescribeConfigs")}
    asyncio.run(take(admin, acls))
    settings = of(secured, role)
    asyncio.run(ensure_topics(settings, role))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert all(acl.name in warning for acl in acls if acl.name not in optional_topics(settings))
    assert "grant DescribeConfigs" in warning
    if role == "worker":
        limits = asyncio.run(message_limits(settings, role))
        assert limits[settings.dead_letters_topic] == 1_048_588
        _, retention, cluster = asyncio.run(changelog_facts(settings, [0]))
        assert (retention, bool(cluster)) == (0.0, True)
    asyncio.run(give(admin, acls))
