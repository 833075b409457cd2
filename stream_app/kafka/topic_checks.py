"""Judges the topics of a stream: what is wrong with those that exist, and what those that are missing must be like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from stream_app.contract.topics import LARGEST_BATCH, TopicSpec
from stream_app.settings import Settings

MAX_BYTES: Final = "max.message.bytes"  # of a topic: most bytes of a batch of records, as it is sent
DEFAULT_MAX_BYTES: Final = 1_048_588  # Kafka's own
MIN_IN_SYNC: Final = "min.insync.replicas"
_MOST_REPLICAS: Final = 3  # of a topic, unless NEXTACT_REPLICATION says otherwise


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is."""

    spec: TopicSpec
    partitions: int  # 0: the topic is missing
    replicas: int
    config: Mapping[str, str] | None  # None: this role does not look at it, or may not

    @property
    def name(self) -> str:
        """The topic's name."""
        return self.spec.name


def replicas_of(settings: Settings, brokers: int) -> int:
    """Returns how many replicas a topic gets that is made on so many brokers."""
    return settings.replication or min(_MOST_REPLICAS, brokers)


def config_of(spec: TopicSpec, replicas: int) -> dict[str, str]:
    """Returns the configuration of a topic that is made.

    With three replicas two must have a record before it counts as written, so that one broker may fail at any time.
    """
    return dict(spec.config) | ({MIN_IN_SYNC: "2"} if replicas >= _MOST_REPLICAS else {})


def missing_topics(settings: Settings, missing: Iterable[TopicSpec], replicas: int) -> str:
    """Says which topics are missing, and what they must be like."""
    described = "; ".join(_described(spec, replicas) for spec in missing)
    maker = "`nextact topics` makes them"
    if not settings.create_topics:
        maker = "NEXTACT_CREATE_TOPICS is false, so nextact makes none: make them, or have them made"
    return f"missing topics: {described}. {maker}"


def problem_of(settings: Settings, state: TopicState) -> str | None:
    """Says why the stream cannot work with a topic that exists; None: it can, as far as can be seen."""
    spec, config = state.spec, state.config
    if state.partitions != spec.partitions and not spec.any_partitions:
        return (
            f"topic {spec.name!r} has {state.partitions} partitions, settings say {spec.partitions}. Set "
            f"NEXTACT_PARTITIONS to {state.partitions} if all topics of the stream have as many, or name another topic"
        )
    if config is None:
        return None
    policy = config.get("cleanup.policy", "")
    if spec.config.get("cleanup.policy") == "compact" and policy != "compact":
        return f"topic {spec.name!r} has cleanup.policy={policy!r}; it must be 'compact', or what it holds gets lost"
    largest, taken = _largest_written(settings, spec), max_bytes(config)
    if taken < largest:
        return (
            f"topic {spec.name!r} takes batches of at most {taken:,} bytes ({MAX_BYTES}), and nextact writes up to "
            f"{largest:,}: raise it to {DEFAULT_MAX_BYTES}, Kafka's default"
        )
    return None


def max_bytes(config: Mapping[str, str] | None) -> int:
    """Returns the most bytes of a batch that a topic takes; Kafka's default where that cannot be seen."""
    return int((config or {}).get(MAX_BYTES) or DEFAULT_MAX_BYTES)


def _described(spec: TopicSpec, replicas: int) -> str:
    partitions = f"{spec.partitions} partition{'s' if spec.partitions > 1 else ''}"
    config = (f"{key}={value}" for key, value in config_of(spec, replicas).items())
    return f"{spec.name} ({', '.join((partitions, *config))})"


def _largest_written(settings: Settings, spec: TopicSpec) -> int:
    """Returns the most bytes of a batch of our own making; elsewhere a record is as large as what it tells of."""
    ours = (
        settings.predictions_topic,
        settings.predictions_latest_topic,
        settings.profile_topic,
        settings.state_topic,
        settings.joins_topic,
    )
    return LARGEST_BATCH if spec.name in ours else 0
