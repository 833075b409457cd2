"""Makes the topics of the contract that are missing, and checks those that exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from stream_app.contract.topics import TopicSpec, topics
from stream_app.errors import BrokerUnreachable, TopicMismatch
from stream_app.kafka.clients import Role, new_admin
from stream_app.kafka.offsets import ends_of
from stream_app.settings import Settings

_MOST_REPLICAS: Final = 3  # of a topic, unless NEXTACT_REPLICATION says otherwise
_VISIBLE_SECONDS: Final = 15.0  # seconds after which every broker must know a topic that was just made


@dataclass(frozen=True, slots=True)
class TopicReport:
    """A topic that exists now, and whether it was made just now."""

    name: str
    partitions: int
    replicas: int
    created: bool


async def ensure_topics(settings: Settings, *, create: bool = True) -> list[TopicReport]:
    """Makes missing topics (if `create`) and checks all; returns one report per topic.

    Raises `BrokerUnreachable` when no broker answers, `TopicMismatch` when a topic is missing or not as it must be.
    """
    async with _admin_client(settings, "operator") as admin:
        wanted = topics(settings)
        existing = await _described(admin, wanted)
        missing = [spec for spec in wanted if spec.name not in existing]
        if missing and not create:
            names = ", ".join(spec.name for spec in missing)
            raise TopicMismatch(f"missing topics: {names}. `nextact topics` makes them")
        if missing:
            await _create(admin, missing, settings)
            existing |= await _visible(admin, missing)
        await _check(admin, wanted, existing)
        created = {spec.name for spec in missing}
        return [
            TopicReport(
                spec.name,
                len(existing[spec.name]),
                len(existing[spec.name][0]["replicas"]),
                spec.name in created,
            )
            for spec in wanted
        ]


async def cluster_id(settings: Settings, role: Role) -> str:
    """Returns the id of the Kafka cluster. Raises `BrokerUnreachable`."""
    async with _admin_client(settings, role) as admin:
        return str((await admin.describe_cluster())["cluster_id"])


async def changelog_facts(settings: Settings, partitions: Collection[int]) -> tuple[dict[int, int], float, str]:
    """Returns what the local store must know of the changelog: the ends of these partitions, for how many seconds it
    keeps tombstones, and the id of its cluster."""
    async with _admin_client(settings, "worker") as admin:
        retention = float(await _config(admin, settings.state_topic, "delete.retention.ms")) / 1000
        cluster = str((await admin.describe_cluster())["cluster_id"])
    changelog = [TopicPartition(settings.state_topic, number) for number in partitions]
    ends = await ends_of(settings, "worker", changelog)
    return {tp.partition: end for tp, end in ends.items()}, retention, cluster


@asynccontextmanager
async def _admin_client(settings: Settings, role: Role) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connects an admin client; raises `BrokerUnreachable` when a broker that is needed does not answer."""
    admin = new_admin(settings, role, request_timeout_ms=10_000)
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError, ValueError) as error:
        raise unreachable(settings, error) from error
    finally:
        await admin.close()


def unreachable(settings: Settings, error: Exception) -> BrokerUnreachable:
    """Returns the error for a Kafka that does not answer, which says what to do."""
    return BrokerUnreachable(
        f"no Kafka broker answers at {settings.brokers!r} ({error}). Is it running? Give another address with "
        "--brokers or NEXTACT_BROKERS; `nextact broker` starts one here"
    )


async def _described(admin: AIOKafkaAdminClient, wanted: Sequence[TopicSpec]) -> dict[str, list[Any]]:
    described = await admin.describe_topics([spec.name for spec in wanted])
    return {topic["topic"]: topic["partitions"] for topic in described if topic["error_code"] == 0}


async def _visible(admin: AIOKafkaAdminClient, created: Sequence[TopicSpec]) -> dict[str, list[Any]]:
    """Returns the descriptions of topics that were just made; waits, as brokers learn of them one after the other."""
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            described = await _described(admin, created)
            if len(described) == len(created):
                return described
            await asyncio.sleep(0.1)


async def _create(admin: AIOKafkaAdminClient, missing: Sequence[TopicSpec], settings: Settings) -> None:
    brokers = len((await admin.describe_cluster())["brokers"])
    replication = settings.replication or min(_MOST_REPLICAS, brokers)
    for spec in missing:
        topic = NewTopic(spec.name, spec.partitions, replication, topic_configs=dict(spec.config))
        response = await admin.create_topics([topic], timeout_ms=10_000)
        _, code, *rest = response.topic_errors[0]
        if code and for_code(code) is not TopicAlreadyExistsError:  # another process was first
            raise TopicMismatch(f"cannot make topic {spec.name!r}: {for_code(code).__name__} {rest}")


async def _check(admin: AIOKafkaAdminClient, wanted: Sequence[TopicSpec], existing: dict[str, list[Any]]) -> None:
    for spec in wanted:
        count = len(existing[spec.name])
        if count != spec.partitions:
            raise TopicMismatch(
                f"topic {spec.name!r} has {count} partitions, settings say {spec.partitions}. Set NEXTACT_PARTITIONS "
                f"to {count} if all topics of the stream have as many, or name another topic"
            )
        if spec.config.get("cleanup.policy") == "compact":
            policy = await _config(admin, spec.name, "cleanup.policy")
            if policy != "compact":
                raise TopicMismatch(
                    f"topic {spec.name!r} has cleanup.policy={policy!r}; it must be 'compact', "
                    "or states and versions get lost"
                )


async def _config(admin: AIOKafkaAdminClient, topic: str, name: str) -> str:
    """Returns a setting of a topic, "" if it has none of that name. Waits until the broker knows the topic."""
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
            code, _message, _type, _topic, entries = responses[0].resources[0]
            if for_code(code) is not UnknownTopicOrPartitionError:
                return next((str(entry[1]) for entry in entries if entry[0] == name), "")
            await asyncio.sleep(0.1)
