"""Says which rights each role needs on a Kafka that grants nothing else, as data.

Operations and resources have Kafka's own names. A right to read or write is also one to describe, as Kafka implies
that (its documentation, "Authorization and ACLs"), so it is not listed. Nor is `IdempotentWrite` on the cluster, which
only brokers before 2.8 want of everybody who writes (KIP-679).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final, Literal, get_args

from stream_app.contract.topics import topics
from stream_app.settings import Settings

Role = Literal["worker", "trainer", "operator", "publisher", "subscriber"]
Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs"]
Resource = Literal["Topic", "Group", "TransactionalId"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
_OPTIONS: Final[dict[Resource, str]] = {  # of kafka-acls
    "Topic": "--topic",
    "Group": "--group",
    "TransactionalId": "--transactional-id",
}
REPLAY_GROUP: Final = "-dead-letter-replay."  # between the workers' group and the reason, in a replay's group


@dataclass(frozen=True, slots=True)
class Grant:
    """One right of a role."""

    role: Role
    operation: Operation
    resource: Resource
    name: str  # of the topic, the group or the transactional id
    why: str  # what the role does with it
    prefixed: bool = False  # `name` is the beginning of the names that are meant


def grants(settings: Settings) -> list[Grant]:
    """Returns the least rights of all roles with these settings, role by role.

    Only workers with `delivery` exactly-once, the operator who examines it, and the trainer, beside whom the process
    runs that writes the statistics, need transactional ids.
    """
    return [
        *_worker(settings),
        *_trainer(settings),
        *_operator(settings),
        *_publisher(settings),
        *_subscriber(settings),
    ]


def acl_lines(settings: Settings) -> list[str]:
    """Returns the lines that grant the rights by Kafka's own `kafka-acls`, to users who are called like the roles."""
    operations: defaultdict[tuple[Role, Resource, str, bool], list[str]] = defaultdict(list)
    for right in grants(settings):
        operations[right.role, right.resource, right.name, right.prefixed].append(right.operation)
    names: defaultdict[tuple[Role, Resource, bool, tuple[str, ...]], list[str]] = defaultdict(list)
    for (role, resource, name, prefixed), several in operations.items():
        names[role, resource, prefixed, tuple(sorted(several))].append(name)
    return [
        " ".join(
            [
                f"kafka-acls.sh $KAFKA --add --allow-principal User:{role}",
                *(f"--operation {operation}" for operation in several),
                *(["--resource-pattern-type prefixed"] if prefixed else []),
                *(f"{_OPTIONS[resource]} {name}" for name in found),
            ]
        )
        for (role, resource, prefixed, several), found in names.items()
    ]


def transactional_prefix(settings: Settings) -> str:
    """Returns what the transactional ids of this stream's workers begin with; the partition follows."""
    return f"{settings.group}.{settings.events_topic}."


def doctor_transactional_id(settings: Settings) -> str:
    """Returns the transactional id with which `nextact doctor` tries whether the cluster has transactions."""
    return f"{transactional_prefix(settings)}doctor"


def statistics_group(settings: Settings) -> str:
    """Returns the group in which the processes that could write the statistics agree on the one that does."""
    return f"{settings.group}-statistics"


def statistics_transactional_id(settings: Settings) -> str:
    """Returns the transactional id of whoever writes the statistics: who takes it locks the one before out."""
    return f"{settings.group}.{settings.statistics_topic}"


def topics_of(settings: Settings, role: Role) -> frozenset[str]:
    """Returns the names of the topics on which the role has any right: those that it looks at."""
    return frozenset(grant.name for grant in grants(settings) if grant.role == role and grant.resource == "Topic")


def _worker(settings: Settings) -> list[Grant]:
    written = {
        settings.predictions_topic: "publishes predictions",
        settings.dead_letters_topic: "keeps records that are not events",
        settings.state_topic: "keeps users' states",
        settings.canary_topic: "reports how a new version does",
        settings.joins_topic: "passes on what anonymous users did",
    }
    if settings.predictions_latest_topic:
        written[settings.predictions_latest_topic] = "keeps each user's newest prediction"
    if settings.profile_topic:
        written[settings.profile_topic] = "says what users are like"
    if settings.signals_topic:
        written[settings.signals_topic] = "tells what silence says of users"
    rights = [
        Grant("worker", "Read", "Topic", settings.events_topic, "reads events"),
        Grant("worker", "Read", "Group", settings.group, "shares the partitions with other workers"),
        Grant("worker", "Read", "Topic", settings.state_topic, "recovers users' states"),
        Grant("worker", "Read", "Topic", settings.models_topic, "follows promotions"),
        Grant("worker", "Read", "Topic", settings.items_topic, "follows the catalogue, if there is one"),
        Grant("worker", "Read", "Topic", settings.joins_topic, "takes in what anonymous users did"),
        Grant("worker", "Read", "Topic", settings.statistics_topic, "follows the statistics, if there are any"),
        *(Grant("worker", "Write", "Topic", topic, why) for topic, why in written.items()),
        *_looks("worker", settings.models_topic, settings.items_topic, settings.statistics_topic, *written),
    ]
    if settings.signals_topic:
        audiences = settings.audiences_topic
        rights += [Grant("worker", "Read", "Topic", audiences, "follows audiences, if there are any")]
        rights += _looks("worker", audiences)
    if settings.delivery == "exactly-once":
        prefix, why = transactional_prefix(settings), "makes a batch one transaction"
        rights.append(Grant("worker", "Write", "TransactionalId", prefix, why, prefixed=True))
    return rights


def _trainer(settings: Settings) -> list[Grant]:
    statistics, transactional = settings.statistics_topic, statistics_transactional_id(settings)
    return [
        Grant("trainer", "Read", "Topic", settings.events_topic, "learns from events"),
        Grant("trainer", "Read", "Topic", settings.models_topic, "follows promotions"),
        Grant("trainer", "Write", "Topic", settings.models_topic, "promotes versions and takes them back"),
        Grant("trainer", "Read", "Topic", settings.canary_topic, "judges a new version by the workers' reports"),
        Grant("trainer", "Read", "Topic", settings.items_topic, "follows the catalogue, if there is one"),
        Grant("trainer", "Read", "Topic", statistics, "goes on with the statistics that are there"),
        Grant("trainer", "Write", "Topic", statistics, "writes the statistics, by `nextact statistics`"),
        Grant("trainer", "Read", "Group", statistics_group(settings), "agrees with others on who writes them"),
        Grant("trainer", "Write", "TransactionalId", transactional, "writes counts and offsets together"),
        *_looks("trainer", settings.models_topic, settings.canary_topic, settings.items_topic, statistics),
    ]


def _operator(settings: Settings) -> list[Grant]:
    names = [spec.name for spec in topics(settings)]
    neither_read_nor_written = (
        settings.canary_topic,
        settings.statistics_topic,
        *(name for name in (settings.predictions_latest_topic, settings.signals_topic) if name),
    )
    replays = f"{settings.group}{REPLAY_GROUP}"
    rights = [
        *(Grant("operator", "Create", "Topic", topic, "makes the topics") for topic in names),
        *(Grant("operator", "Describe", "Topic", topic, "checks the topics") for topic in neither_read_nor_written),
        *_looks("operator", *names),
        Grant("operator", "Read", "Topic", settings.events_topic, "looks for records on a wrong partition"),
        Grant("operator", "Read", "Topic", settings.models_topic, "lists versions"),
        Grant("operator", "Read", "Topic", settings.state_topic, "shows what is known of a user"),
        Grant("operator", "Read", "Topic", settings.predictions_topic, "shows what is known of a user"),
        Grant("operator", "Write", "Topic", settings.models_topic, "promotes versions and rolls back"),
        Grant("operator", "Read", "Topic", settings.dead_letters_topic, "replays dead letters"),
        Grant("operator", "Write", "Topic", settings.events_topic, "publishes replayed records"),
        Grant("operator", "Read", "Topic", settings.items_topic, "shows and checks the catalogue"),
        Grant("operator", "Write", "Topic", settings.items_topic, "publishes replayed records"),
        Grant("operator", "Write", "Topic", settings.joins_topic, "brings a shop's past into users' states"),
        Grant("operator", "Read", "Group", replays, "remembers what was replayed", prefixed=True),
    ]
    if settings.profile_topic:
        rights.append(Grant("operator", "Read", "Topic", settings.profile_topic, "shows what is known of a user"))
    if settings.signals_topic:
        rights += [
            Grant("operator", "Read", "Topic", settings.audiences_topic, "lists audiences"),
            Grant("operator", "Write", "Topic", settings.audiences_topic, "publishes audiences"),
        ]
    if settings.delivery == "exactly-once":
        name = doctor_transactional_id(settings)
        rights.append(Grant("operator", "Write", "TransactionalId", name, "tries whether there are transactions"))
    return rights


def _publisher(settings: Settings) -> list[Grant]:
    return [
        Grant("publisher", "Write", "Topic", settings.events_topic, "publishes events"),
        Grant("publisher", "Write", "Topic", settings.items_topic, "publishes items, if it does"),
    ]


def _subscriber(settings: Settings) -> list[Grant]:
    rights = [
        Grant("subscriber", "Read", "Topic", settings.predictions_topic, "watches predictions"),
        Grant("subscriber", "Read", "Topic", settings.dead_letters_topic, "lists dead letters"),
        Grant("subscriber", "Read", "Topic", settings.items_topic, "shows titles, if there are any"),
    ]
    if settings.predictions_latest_topic:
        why = "reads each user's newest prediction"
        rights.append(Grant("subscriber", "Read", "Topic", settings.predictions_latest_topic, why))
    if settings.signals_topic:
        rights.append(Grant("subscriber", "Read", "Topic", settings.signals_topic, "acts on what silence says"))
    return rights


def _looks(role: Role, *topics: str) -> list[Grant]:
    """Rights to see how topics are set; without one the role goes on, with a warning."""
    return [
        Grant(role, "DescribeConfigs", "Topic", topic, "checks how the topic is set (warns without it)")
        for topic in topics
    ]
