"""Makes the topics of the contract where they are missing, and checks those that exist."""

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
from stream_app.kafka.offsets import ends_of
from stream_app.settings import Settings

_MOST_REPLICAS: Final = 3
_VISIBLE_SECONDS: Final = 15.0  # until a topic that was just made must be known


@dataclass(frozen=True, slots=True)
class TopicReport:
    """One topic as found or made."""

    name: str
    partitions: int
    replicas: int
    created: bool


async def ensure_topics(settings: Settings, *, create: bool = True) -> list[TopicReport]:
    """Makes missing topics (if `create`) and checks all; returns one report per topic.

    Raises `BrokerUnreachable` when no broker answers, `TopicMismatch` when a topic is missing or not as it must be.
    """
    async with _administration(settings) as admin:
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
        made = {spec.name for spec in missing}
        return [
            TopicReport(
                spec.name,
                len(existing[spec.name]),
                len(existing[spec.name][0]["replicas"]),
                spec.name in made,
            )
            for spec in wanted
        ]


async def cluster_id(settings: Settings) -> str:
    """The id of the Kafka cluster. Raises `BrokerUnreachable`."""
    async with _administration(settings) as admin:
        return str((await admin.describe_cluster())["cluster_id"])


async def changelog_facts(settings: Settings, partitions: Collection[int]) -> tuple[dict[int, int], float, str]:
    """Where each of these partitions of the changelog ends, for how many seconds it keeps tombstones, and the id of
    the cluster that has it."""
    async with _administration(settings) as admin:
        retention = float(await _config(admin, settings.state_topic, "delete.retention.ms")) / 1000
        cluster = str((await admin.describe_cluster())["cluster_id"])
    ends = await ends_of(settings.brokers, [TopicPartition(settings.state_topic, number) for number in partitions])
    return {tp.partition: end for tp, end in ends.items()}, retention, cluster


@asynccontextmanager
async def _administration(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Raises `BrokerUnreachable` when no broker answers, or one that is needed does not."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.brokers, request_timeout_ms=10_000)
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError, ValueError) as error:
        raise unreachable(settings, error) from error
    finally:
        await admin.close()


def unreachable(settings: Settings, error: Exception) -> BrokerUnreachable:
    """What to tell a person when Kafka does not answer."""
    return BrokerUnreachable(
        f"no Kafka broker answers at {settings.brokers!r} ({error}). Is it running? Give another address with "
        "--brokers or NEXTACT_BROKERS; `nextact broker` starts one here"
    )


async def _described(admin: AIOKafkaAdminClient, wanted: Sequence[TopicSpec]) -> dict[str, list[Any]]:
    found = await admin.describe_topics([spec.name for spec in wanted])
    return {topic["topic"]: topic["partitions"] for topic in found if topic["error_code"] == 0}


async def _visible(admin: AIOKafkaAdminClient, made: Sequence[TopicSpec]) -> dict[str, list[Any]]:
    """Descriptions of topics just made; brokers learn of them one after the other."""
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            found = await _described(admin, made)
            if len(found) == len(made):
                return found
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
    """A setting of a topic; "" if it has none of the name. Any broker may be asked, also one that learns late."""
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
            code, _message, _type, _topic, entries = responses[0].resources[0]
            if for_code(code) is not UnknownTopicOrPartitionError:
                return next((str(entry[1]) for entry in entries if entry[0] == name), "")
            await asyncio.sleep(0.1)
