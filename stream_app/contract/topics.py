"""The topics of the contract: their names, numbers of partitions and settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from stream_app.settings import Settings

LARGEST_DEAD_LETTER: Final = 16 * 1024 * 1024  # bytes: any record that Kafka took, and nextact's headers
LARGEST_BATCH: Final = 900_000  # most bytes of a batch of several records; brokers take a little over 1 MB by default
_SMALL_SEGMENTS: Final = {"segment.bytes": str(64 * 1024 * 1024)}  # the newest one is never compacted, but read by all
_KEPT_MS: Final = 7 * 86_400_000  # a week, of canary reports (the newest of a worker that is no more) and joins


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as the contract requires it."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)
    optional: bool = False  # the stream works without it
    any_partitions: bool = False  # it may have more or fewer partitions than that


def topics(settings: Settings) -> list[TopicSpec]:
    """Returns all topics.

    Events and what follows them have equal numbers of partitions, so order holds from end to end.
    """
    compacted = {"cleanup.policy": "compact"}
    short_lived = {"cleanup.policy": "compact,delete", "retention.ms": str(_KEPT_MS)}
    large = {"max.message.bytes": str(LARGEST_DEAD_LETTER)}
    signals = [
        TopicSpec(settings.signals_topic, settings.partitions),
        TopicSpec(settings.audiences_topic, 1, compacted, optional=True, any_partitions=True),
    ]
    latest = TopicSpec(settings.predictions_latest_topic, settings.partitions, compacted)
    profiles = TopicSpec(settings.profile_topic, settings.partitions, compacted)
    return [
        TopicSpec(settings.events_topic, settings.partitions),
        TopicSpec(settings.predictions_topic, settings.partitions),
        TopicSpec(settings.dead_letters_topic, settings.partitions, large),
        TopicSpec(settings.state_topic, settings.partitions, compacted),
        TopicSpec(settings.joins_topic, settings.partitions, {"retention.ms": str(_KEPT_MS)}, optional=True),
        TopicSpec(settings.models_topic, 1, compacted),
        TopicSpec(settings.canary_topic, 1, short_lived),
        TopicSpec(settings.items_topic, settings.partitions, compacted, optional=True, any_partitions=True),
        TopicSpec(settings.statistics_topic, 1, compacted | _SMALL_SEGMENTS, optional=True, any_partitions=True),
        *([latest] if settings.predictions_latest_topic else []),
        *([profiles] if settings.profile_topic else []),
        *(signals if settings.signals_topic else []),
    ]
