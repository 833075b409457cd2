"""The topics of the contract, and how each must be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from stream_app.settings import Settings

LARGEST_DEAD_LETTER: Final = 16 * 1024 * 1024  # bytes: a record of any size that Kafka took, plus our headers


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as the contract needs it."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def topics(settings: Settings) -> list[TopicSpec]:
    """All topics; events, predictions and the changelog have one number of partitions, so order holds end to end."""
    compacted = {"cleanup.policy": "compact"}
    large = {"max.message.bytes": str(LARGEST_DEAD_LETTER)}
    return [
        TopicSpec(settings.events_topic, settings.partitions),
        TopicSpec(settings.predictions_topic, settings.partitions),
        TopicSpec(settings.dead_letters_topic, settings.partitions, large),
        TopicSpec(settings.state_topic, settings.partitions, compacted),
        TopicSpec(settings.models_topic, 1, compacted),
    ]
