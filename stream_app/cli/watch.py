"""`nextact watch`: shows predictions as they come, a line each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from model.errors import NextactError
from stream_app.contract.decoded import RejectedRecord
from stream_app.contract.items import decode_item
from stream_app.contract.prediction_line import prediction_line
from stream_app.contract.predictions import decode_prediction
from stream_app.dead_letters.listing import escaped
from stream_app.errors import TopicMismatch
from stream_app.kafka.clients import new_consumer
from stream_app.kafka.topic_admin import ensure_topics
from stream_app.settings import Settings

_TITLES_S: Final = 3.0  # seconds that the first prediction waits for the titles
_POLL_MS: Final = 200  # milliseconds until a signal is noticed while nothing comes

logger: Final = logging.getLogger(__name__)


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
    async with (
        nullcontext(str) if as_json else _titles(settings) as title_of,
        new_consumer(settings, "subscriber", isolation_level="read_committed") as consumer,
    ):
        partitions = [TopicPartition(settings.predictions_topic, number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        await (consumer.seek_to_beginning if from_start else consumer.seek_to_end)(*partitions)
        left = count
        while not stop.is_set() and left != 0:
            for value in await _values(consumer, user):
                say(value.decode(errors="replace") if as_json else shown(value, title_of))
                left = None if left is None else left - 1
                if left == 0:
                    break


async def _values(consumer: AIOKafkaConsumer, user: str | None) -> list[bytes]:
    fetched = await consumer.getmany(timeout_ms=_POLL_MS)
    wanted = None if user is None else user.encode()
    read = [record for records in fetched.values() for record in records if record.value is not None]
    return [record.value for record in read if wanted in (None, record.key)]


@asynccontextmanager
async def _titles(settings: Settings) -> AsyncIterator[Callable[[str], str]]:
    """Gives what returns an item's title by its id; "" without one, and for those that take long to read."""
    titles: dict[str, str] = {}
    read = asyncio.Event()
    reading = asyncio.create_task(_read_titles(settings, titles, read))
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(read.wait(), _TITLES_S)
        yield lambda item_id: titles.get(item_id, "")
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _read_titles(settings: Settings, titles: dict[str, str], read: asyncio.Event) -> None:
    """Follows the catalogue, for titles alone; sets `read` when all that is there was read, or cannot be."""
    topic = settings.items_topic
    try:
        (report,) = await ensure_topics(settings, "subscriber", topic, create=False)
        partitions = [TopicPartition(topic, number) for number in range(report.partitions)]
        async with new_consumer(settings, "subscriber", isolation_level="read_committed") as consumer:
            ends = await consumer.end_offsets(partitions)
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            while True:
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    titles.update(_titles_in(records))
                if not read.is_set() and all([await consumer.position(tp) >= end for tp, end in ends.items()]):
                    read.set()
    except TopicMismatch:
        pass  # there is no catalogue
    except (NextactError, KafkaError) as error:
        logger.warning("items are shown without titles: %s", error)
    finally:
        read.set()


def _titles_in(records: Iterable[ConsumerRecord[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    for record in records:
        with suppress(RejectedRecord):
            change = decode_item(record.key, record.value)
            yield change.item_id, change.item.title if change.item is not None else ""


def shown(value: bytes, title_of: Callable[[str], str]) -> str:
    """Returns a record as a line for people, in which nothing can control a terminal; others may write there, too."""
    try:
        return escaped(prediction_line(decode_prediction(value), title_of))
    except msgspec.DecodeError as error:
        return escaped(f"not a prediction: {error}")
