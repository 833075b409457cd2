"""Makes the topics of the contract that are missing, and checks those that exist, each role its own.

What this leans on: `AIOKafkaAdminClient._send_request` takes any request of aiokafka's protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidConfigurationError,
    KafkaError,
    NoError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from stream_app.contract.access import grants, topics_of
from stream_app.contract.topics import TopicSpec, topics
from stream_app.errors import TopicMismatch
from stream_app.kafka.clients import AdminClient, Role, new_admin
from stream_app.kafka.offsets import ends_of
from stream_app.kafka.refusals import missing_right
from stream_app.kafka.topic_checks import (
    MAX_BYTES,
    TopicState,
    config_of,
    max_bytes,
    missing_topics,
    problem_of,
    replicas_of,
)
from stream_app.settings import Settings

_VISIBLE_SECONDS: Final = 15.0  # seconds after which every broker must know a topic that was just made

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TopicReport:
    """A topic that exists now, and whether it was made just now."""

    name: str
    partitions: int
    replicas: int
    created: bool


async def ensure_topics(
    settings: Settings, role: Role = "operator", *names: str, create: bool = True
) -> list[TopicReport]:
    """Makes missing topics (if `create`, and if the settings allow it) and checks all; returns one report per topic.

    Looks at the topics of the role only, or at those of them that are named; at those that the stream works without,
    if they are not named, only for the operator. Raises `BrokerUnreachable` when no broker answers, `TopicMismatch`
    when a topic is missing or not as it must be.
    """
    async with _admin_client(settings, role) as admin:
        states = await _states(admin, settings, role, names)
        missing = [state.spec for state in states if not state.partitions]
        if missing:
            replicas = replicas_of(settings, len((await admin.describe_cluster())["brokers"]))
            if not (create and settings.create_topics):
                raise TopicMismatch(missing_topics(settings, missing, replicas))
            for spec in missing:
                await _create(admin, settings, spec, replicas)
            states = await _visible(admin, settings, role, names)
    for state in states:
        if problem := problem_of(settings, state):
            raise TopicMismatch(problem)
    created = {spec.name for spec in missing}
    return [TopicReport(state.name, state.partitions, state.replicas, state.name in created) for state in states]


async def topic_states(settings: Settings, role: Role, *names: str) -> list[TopicState]:
    """Returns the role's topics, or those of them that are named, as they are. Raises `BrokerUnreachable`."""
    async with _admin_client(settings, role) as admin:
        return await _states(admin, settings, role, names)


async def message_limits(settings: Settings, role: Role, *names: str) -> dict[str, int]:
    """Returns how many bytes a batch may have for the role's topics, or those of them that are named.

    Kafka's default where the role may not see it, with a warning. Raises `BrokerUnreachable`.
    """
    return {state.name: max_bytes(state.config) for state in await topic_states(settings, role, *names)}


async def cluster_id(settings: Settings, role: Role) -> str:
    """Returns the id of the Kafka cluster. Raises `BrokerUnreachable`."""
    async with _admin_client(settings, role) as admin:
        return str((await admin.describe_cluster())["cluster_id"])


async def changelog_facts(settings: Settings, partitions: Collection[int]) -> tuple[dict[int, int], float, str]:
    """Returns what the local store must know of the changelog: the ends of these partitions, for how many seconds it
    keeps tombstones, and the id of its cluster.
    """
    retention, cluster = await compaction_facts(settings, "worker", settings.state_topic)
    changelog = [TopicPartition(settings.state_topic, number) for number in partitions]
    ends = await ends_of(settings, "worker", changelog)
    return {tp.partition: end for tp, end in ends.items()}, retention, cluster


async def compaction_facts(settings: Settings, role: Role, topic: str) -> tuple[float, str]:
    """Returns for how many seconds a compacted topic keeps tombstones, and the id of its cluster.

    Where the role may not see how the topic is set, tombstones are taken to be gone at once.
    """
    async with _admin_client(settings, role) as admin:
        config = (await _configs(admin, [topic]))[topic] or {}
        return float(config.get("delete.retention.ms", 0)) / 1000, str((await admin.describe_cluster())["cluster_id"])


def _admin_client(settings: Settings, role: Role) -> AdminClient:
    return new_admin(settings, role, request_timeout_ms=10_000)


async def _states(
    admin: AIOKafkaAdminClient, settings: Settings, role: Role, names: Collection[str]
) -> list[TopicState]:
    chosen = names or topics_of(settings, role)
    wanted = [
        spec for spec in topics(settings) if spec.name in chosen and (not spec.optional or names or role == "operator")
    ]
    try:
        existing = await _partitions(admin, [spec.name for spec in wanted])
    except TopicAuthorizationFailedError as error:  # which any right on the topic but DescribeConfigs would prevent
        name = error.args[0]
        rights = {one.operation for one in grants(settings) if (one.role, one.name) == (role, name)}
        raise missing_right(" or ".join(sorted(rights - {"DescribeConfigs"})), "topic", repr(name)) from error
    seen = {right.name for right in grants(settings) if (right.role, right.operation) == (role, "DescribeConfigs")}
    configs = await _configs(admin, [name for name in existing if name in seen])
    replicas = {name: len(partitions[0]["replicas"]) for name, partitions in existing.items()}
    return [
        TopicState(spec, len(existing.get(spec.name, [])), replicas.get(spec.name, 0), configs.get(spec.name))
        for spec in wanted
    ]


async def _partitions(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, list[Any]]:
    """Returns the partitions of those topics that exist. Raises aiokafka's error of a topic that may not be seen.

    `AIOKafkaAdminClient.describe_topics` would make the missing ones where the broker makes topics by itself.
    """
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            response = await admin._send_request(MetadataRequest(list(names), allow_auto_topic_creation=False))
            described = {topic["topic"]: topic for topic in response.to_object()["topics"]}
            codes = {name: for_code(topic["error_code"]) for name, topic in described.items()}
            for name, error in codes.items():
                if error not in (NoError, UnknownTopicOrPartitionError) and not error.retriable:
                    raise error(name)
            if all(error in (NoError, UnknownTopicOrPartitionError) for error in codes.values()):
                return {name: described[name]["partitions"] for name, error in codes.items() if error is NoError}
            await asyncio.sleep(0.1)


async def _visible(
    admin: AIOKafkaAdminClient, settings: Settings, role: Role, names: Collection[str]
) -> list[TopicState]:
    """Returns the topics once all are there; waits, as brokers learn of new ones one after the other."""
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            states = await _states(admin, settings, role, names)
            if all(state.partitions for state in states):
                return states
            await asyncio.sleep(0.1)


async def _create(admin: AIOKafkaAdminClient, settings: Settings, spec: TopicSpec, replicas: int) -> None:
    """Makes a topic; without a size where the broker allows none so large. Raises `TopicMismatch`."""
    config = config_of(spec, replicas)
    error, message = await _try_to_create(admin, spec, replicas, config)
    if error in (InvalidConfigurationError, PolicyViolationError) and MAX_BYTES in config:
        refused = config.pop(MAX_BYTES)
        logger.warning("topic %s gets the broker's own %s, as it refuses %s", spec.name, MAX_BYTES, refused)
        error, message = await _try_to_create(admin, spec, replicas, config)
    if error in (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
        raise TopicMismatch(
            f"{missing_topics(settings, [spec], replicas)} for a user with the right Create on it, which this one lacks"
        )
    if error not in (NoError, TopicAlreadyExistsError):  # another process was first
        raise TopicMismatch(f"cannot make topic {spec.name!r}: {error.__name__} {message or ''}".rstrip())


async def _try_to_create(
    admin: AIOKafkaAdminClient, spec: TopicSpec, replicas: int, config: dict[str, str]
) -> tuple[type[KafkaError], str | None]:
    topic = NewTopic(spec.name, spec.partitions, replicas, topic_configs=config)
    response = await admin.create_topics([topic], timeout_ms=10_000)
    _, code, *message = response.topic_errors[0]
    return for_code(code), message[0] if message else None


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str] | None]:
    """Returns the settings of topics, None where they may not be seen. Waits until the broker knows the topics."""
    if not names:
        return {}
    async with asyncio.timeout(_VISIBLE_SECONDS):
        while True:
            responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
            resources = [resource for response in responses for resource in response.resources]
            codes = {name: for_code(code) for code, _, _, name, _ in resources}
            if UnknownTopicOrPartitionError not in codes.values():
                break
            await asyncio.sleep(0.1)
    denied = [name for name, error in codes.items() if error is not NoError]
    if denied:
        logger.warning(
            "not checked how topics %s are set (cleanup policy, sizes): %s; grant DescribeConfigs on them",
            ", ".join(denied),
            codes[denied[0]].__name__,
        )
    return {
        name: None if name in denied else {entry[0]: str(entry[1]) for entry in entries}
        for _, _, _, name, entries in resources
    }
