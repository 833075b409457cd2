"""Lists and replaces the audiences, for the operator."""

from __future__ import annotations

from model.profile.audiences import Audiences
from stream_app.contract.signals.audiences import encode_audience
from stream_app.errors import UsageError
from stream_app.kafka.publisher import publish, started_producer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings
from stream_app.signals.audiences import AudiencesFollower


async def current_audiences(settings: Settings) -> Audiences:
    """Reads all audiences there are. Raises `UsageError`, also where signals are off."""
    await _ensure_topic(settings)
    follower = AudiencesFollower(settings, "operator", lambda _: None)
    try:
        await follower.start()
        return follower.known.current
    finally:
        await follower.stop()


async def replace_audiences(settings: Settings, audiences: Audiences) -> Audiences:
    """Makes these the audiences that there are, and returns those that there were. Raises `UsageError`."""
    before = await current_audiences(settings)
    gone: list[tuple[bytes, bytes | None]] = [(name.encode(), None) for name in before if name not in audiences]
    new = [
        (name.encode(), encode_audience(audience))
        for name, audience in audiences.items()
        if before.get(name) != audience
    ]
    producer = await started_producer(settings, "operator")
    try:
        await publish([*gone, *new], kafka=producer, topic=settings.audiences_topic)
    finally:
        await producer.stop()
    return before


async def _ensure_topic(settings: Settings) -> None:
    if not settings.signals_topic:
        raise UsageError("no signals are told, so nobody follows audiences: set NEXTACT_SIGNALS_TOPIC, as for workers")
    await ensure_topics(settings, "operator", settings.audiences_topic)
