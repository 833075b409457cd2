"""Writes the dead letters of catalogue records, which every worker reads: who has partition 0 of the events does it.

Who has none of it forgets what was rejected; who does not know yet keeps it. A letter may be written again by a worker
that begins without a snapshot.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError

from stream_app.contract.dead_letters import dead_letter
from stream_app.contract.topics import LARGEST_BATCH, LARGEST_DEAD_LETTER
from stream_app.items.local_catalogue import RejectedItem
from stream_app.kafka.encoded_batch import EncodedBatch, encode_records
from stream_app.kafka.publisher import started_producer
from stream_app.settings import Settings

PARTITION: Final = 0  # of the events, whose owner writes; and of the dead letters
_PAUSE_S: Final = 1.0
_MOST: Final = 10_000  # records that are kept until they are written

logger: Final = logging.getLogger(__name__)


class ItemLetters:
    """What is to become a dead letter, or not, when it is known who writes it."""

    def __init__(self, settings: Settings, owns: Callable[[], bool | None], clock: Callable[[], float]) -> None:
        """`owns`: whether this process has the partition; None: it does not know yet. `clock` in seconds since 1970."""
        self.largest = LARGEST_DEAD_LETTER  # bytes of a batch; the topic may take less
        self._settings, self._owns, self._clock = settings, owns, clock
        self._waiting: deque[RejectedItem] = deque(maxlen=_MOST)
        self._producer: Any = None

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, rejected: Sequence[RejectedItem]) -> None:
        """Takes in what is not an item."""
        self._waiting.extend(rejected)

    async def run(self) -> None:
        """Writes letters until cancelled; tries again what Kafka refuses."""
        while True:
            try:
                await self.write()
            except KafkaError as error:
                logger.warning("%d dead letters of items are written later: %r", len(self), error)
            await asyncio.sleep(_PAUSE_S)

    async def write(self) -> None:
        """Writes what waits, if this process is the one to do it."""
        if not self._waiting or (owner := self._owns()) is None:
            return
        waiting = list(self._waiting)
        if owner:
            await self._send(waiting)
        for _ in waiting:
            self._waiting.popleft()

    async def stop(self) -> None:
        """Disconnects."""
        if self._producer is not None:
            await self._producer.stop()

    async def _send(self, waiting: Sequence[RejectedItem]) -> None:
        if self._producer is None:
            self._producer = await started_producer(self._settings, "worker", max_request_size=LARGEST_DEAD_LETTER)
        letters = [dead_letter(record, rejection, self.largest) for record, rejection in waiting]
        largest = min(LARGEST_BATCH, self.largest)
        sends = [
            await self._producer.send_batch(
                EncodedBatch(batch, time=self._clock(), transactional=False),
                self._settings.dead_letters_topic,
                partition=PARTITION,
            )
            for batch in encode_records(letters, largest=largest, compression=self._settings.compression)
        ]
        for sent in sends:
            await sent
