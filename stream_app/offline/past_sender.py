"""Sends a shop's past to the workers, which take it into their users' states."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import KafkaError

from model.state.past_users import PastUsers
from stream_app.contract.joins import encode_join, imported_past
from stream_app.errors import UsageError
from stream_app.kafka.clients import new_producer
from stream_app.kafka.refusals import explained
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.offline.past_events import PastEvents
from stream_app.settings import Settings

USERS: Final = 400  # of a record, at most
ACTIONS: Final = 2500  # of a record, at most: some 150 KB with those users
_IN_FLIGHT: Final = 64  # records that are not acknowledged yet
_BATCH: Final = 512 * 1024  # bytes of a batch


@dataclass(frozen=True, slots=True)
class SentPast:
    """How much of a file was sent to the workers."""

    users: int
    events: int  # those of a basket one by one


async def check_joins_topic(settings: Settings) -> None:
    """Makes the topic, if it may, and checks it. Raises `UsageError`, which says what can be done without."""
    if not settings.joins:
        raise UsageError(
            "NEXTACT_JOINS=false: workers take in no past. Import it with --no-states for the trainer alone"
        )
    try:
        await ensure_topics(settings, "operator", settings.joins_topic)
    except UsageError as error:
        raise type(error)(
            f"the past cannot be sent to the workers: {error}. Import it with --no-states for the trainer alone"
        ) from error


async def send_past(settings: Settings, past: PastEvents, progress: Callable[[SentPast], None]) -> SentPast:
    """Sends all users of a file, and returns when the broker has acknowledged them. Raises `UsageError`.

    Users who were sent before are sent again: what a user has, workers do not take in twice.
    """
    try:
        async with new_producer(
            settings, "operator", acks="all", enable_idempotence=True, linger_ms=5, max_batch_size=_BATCH
        ) as producer:
            return await _send(settings.joins_topic, producer, past, progress)
    except KafkaError as error:
        raise await explained(settings, error, "Write") from error


async def _send(topic: str, producer: Any, past: PastEvents, progress: Callable[[SentPast], None]) -> SentPast:
    waiting, sent = deque[asyncio.Future[Any]](), SentPast(0, 0)
    source = int(past.source, 16) if past.source else 0
    for events, users in past.users():
        for part in users.parts(USERS, ACTIONS):
            waiting.append(await producer.send(topic, *_value_and_key(part, source, past.end)))
            if len(waiting) > _IN_FLIGHT:
                await waiting.popleft()
            sent = SentPast(sent.users + len(part.users), sent.events)
            progress(sent)
        sent = SentPast(sent.users, sent.events + events)
    for acknowledged in waiting:
        await acknowledged
    progress(sent)
    return sent


def _value_and_key(part: PastUsers, source: int, end: int) -> tuple[bytes, bytes]:
    """All users of a part are of one partition, so any of them can be the key."""
    return encode_join(imported_past(part, source, end)), part.users[0].encode()
