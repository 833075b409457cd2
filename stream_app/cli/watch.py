"""`nextact watch`: shows predictions as they come, a line each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_app.contract.prediction_line import prediction_line
from stream_app.contract.predictions import decode_prediction
from stream_app.dead_letters.listing import escaped
from stream_app.kafka.clients import new_consumer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings

_POLL_MS: Final = 200  # milliseconds until a signal is noticed while nothing comes


async def watch_predictions(
    settings: Settings,
    stop: asyncio.Event,
    say: Callable[[str], None],
    *,
    user: str | None,
    from_start: bool,
    as_json: bool,
    count: int | None,
) -> None:
    """Says predictions (of one user) until `stop` is set or `count` of them are said."""
    await ensure_topics(settings, "subscriber", settings.predictions_topic, create=False)
    async with new_consumer(settings, "subscriber", isolation_level="read_committed") as consumer:
        partitions = [TopicPartition(settings.predictions_topic, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        await (consumer.seek_to_beginning if from_start else consumer.seek_to_end)(*partitions)
        left = count
        while not stop.is_set() and left != 0:
            for value in await _values(consumer, user):
                say(value.decode(errors="replace") if as_json else shown(value))
                left = None if left is None else left - 1
                if left == 0:
                    break


async def _values(consumer: AIOKafkaConsumer, user: str | None) -> list[bytes]:
    fetched = await consumer.getmany(timeout_ms=_POLL_MS)
    wanted = None if user is None else user.encode()
    read = [record for records in fetched.values() for record in records if record.value is not None]
    return [record.value for record in read if wanted in (None, record.key)]


def shown(value: bytes) -> str:
    """Returns a record as a line for people, in which nothing can control a terminal; others may write there, too."""
    try:
        return escaped(prediction_line(decode_prediction(value)))
    except msgspec.DecodeError as error:
        return escaped(f"not a prediction: {error}")
