"""The events that the trainer has read, in Parquet files by day. The files alone say up to where: there is no other
record of the position, so that no crash can make the two differ.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Final

import pyarrow as pa

from model.data.deduplicate import Deduplicator
from model.data.events import Actions
from stream_app.errors import HistoryUnusable
from stream_app.history.files import (
    FileDamage,
    FileMetadata,
    FileWriter,
    HistoryFile,
    Span,
    Stream,
    name_of,
    publish,
    read_actions,
    read_file,
    with_rows,
)
from stream_app.history.offset_chain import OffsetGap, check_chain, positions
from stream_app.history.rows import actions_in
from stream_app.history.storage import HistoryStorage, number_of
from stream_app.history.upkeep import ErasureResult, ending_when_damaged, erase, expired, merged

logger: Final = logging.getLogger(__name__)


class Filling:
    """Takes what Kafka still has of a hole."""

    def __init__(self, writer: FileWriter, facts: FileMetadata) -> None:
        self._writer = writer
        self.facts = facts

    @property
    def rows(self) -> int:
        """Events so far."""
        return self._writer.rows

    def write(self, rows: pa.RecordBatch) -> None:
        """Adds rows, in order per partition."""
        self._writer.write(rows)
        self.facts = with_rows(self.facts, rows)


class EventHistory:
    """The files of a history, which only this process writes until it is closed.

    Reading may go on in another thread while files are added.
    """

    def __init__(self, place: HistoryStorage) -> None:
        """Claims the place and tidies up after a process that was killed.

        Raises `HistoryUnusable` when the place is in use or cannot be written, `HistoryFailed` when it cannot be read.
        """
        self._place = place
        self._changing = threading.Lock()
        place.claim()
        try:
            chain = check_chain(*_readable(place))
            for file in chain.covered:
                place.remove(file.name)
            for file in chain.misplaced:
                _set_aside(place, file.name, "its offsets do not fit those of its neighbours")
        except BaseException:
            place.release()
            raise
        self._files, self.holes = chain.files, chain.holes
        self._tell_damage_closed()

    def close(self) -> None:
        """Lets other processes have the place."""
        with self._changing:
            self._place.release()

    @property
    def files(self) -> Sequence[HistoryFile]:
        """All files, oldest first."""
        return self._files

    @property
    def rows(self) -> int:
        """Events in all files."""
        return sum(file.rows for file in self._files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self._files)

    def positions(self, stream: Stream) -> dict[int, int]:
        """Where to go on, by partition; what is not in it begins at its oldest record.

        Raises `HistoryUnusable` when the history is of another stream. One of a higher epoch follows the files there.
        """
        newest = self._files[-1].facts.stream if self._files else stream
        if newest.epoch < stream.epoch:
            logger.warning("stream epoch %d: the history goes on with offsets of a new topic", stream.epoch)
            return {}
        if newest != stream:
            raise HistoryUnusable(
                f"the history in {self._place.address!r} is of topic {newest.topic!r} on cluster {newest.cluster}, "
                f"stream epoch {newest.epoch}; not of {stream.topic!r} on {stream.cluster}, epoch {stream.epoch}. "
                f"If the topic was made anew, set NEXTACT_STREAM_EPOCH above {newest.epoch}; else set NEXTACT_HISTORY "
                "to another place"
            )
        return positions(self._files)

    def last_rows(self) -> dict[int, tuple[int, int]]:
        """Offset and record time (ms) of the newest row of each partition of the newest stream."""
        found: dict[int, tuple[int, int]] = {}
        for file in self._files:
            if file.facts.stream == self._files[-1].facts.stream:
                found |= file.facts.last
        return found

    def append(
        self,
        batches: Sequence[pa.RecordBatch],
        stream: Stream,
        spans: Mapping[int, Span],
        *,
        written: int,
        missing: int = 0,
    ) -> None:
        """Adds a file of all events of these spans, which begin where the last ones ended; `written`: now, in ms.

        Raises `HistoryFailed`; the history is then as it was.
        """
        facts = reduce(with_rows, batches, FileMetadata(stream, dict(spans), written, missing))
        with self._changing:
            number = self._files[-1].number + 1 if self._files else 1
            self._files.append(publish(self._place, number, batches, facts))

    @contextmanager
    def filling(self, hole: OffsetGap, spans: Mapping[int, Span], *, written: int, missing: int) -> Iterator[Filling]:
        """Closes a hole with what is written inside; not at all when that fails. Arguments as of `append`."""
        name = name_of(hole.number, hole.day)
        with self._place.scratch(name) as scratch:
            with FileWriter(scratch) as writer:
                filling = Filling(writer, FileMetadata(hole.stream, dict(spans), written, missing))
                yield filling
                writer.close(filling.facts)
            size = self._place.publish(scratch, name, replace=False)
        file = HistoryFile(name, size, writer.rows, filling.facts)
        self._files = sorted([*self._files, file], key=lambda file: file.number)
        self.holes.remove(hole)
        self._tell_damage_closed()

    @property
    def newest(self) -> int:
        """The number of the newest file; 0: there is none."""
        return self._files[-1].number if self._files else 0

    def chunks(self, most: int, until: int | None = None) -> Iterator[Actions]:
        """The newest `most` events, oldest first, in order per partition; a user's repeated event id counts once.

        With `until` of the files up to that number. A chunk has 50,000 events at most, and no more than that is in
        memory. Raises `HistoryFailed` when a file turns out to be damaged: the next start reads its events from Kafka.
        """
        chosen, rows = list[HistoryFile](), 0
        for file in reversed(self.files_until(until)):
            if rows >= most:
                break
            chosen.insert(0, file)
            rows += file.rows
        repeats = Deduplicator()
        for place, file in enumerate(chosen):
            skip = max(0, rows - most) if place == 0 else 0
            with ending_when_damaged(self._place, file):
                for batch in read_actions(self._place, file, skip):
                    yield repeats.dropped(actions_in(batch))

    def files_until(self, number: int | None) -> list[HistoryFile]:
        """The files up to that of this number; None: all."""
        return [file for file in self._files if number is None or file.number <= number]

    def keep_up(self, days: float) -> None:
        """Merges the files of finished days, forgets events older than so many days (0: none).

        Must wait until nobody reads. Raises `HistoryFailed`.
        """
        assert not self.holes, "a merged file would answer for them"
        with self._changing:
            self._files = expired(self._place, merged(self._place, self._files), days)

    def erase(self, users: Collection[str], tell: Callable[[str], None]) -> ErasureResult:
        """Forgets users, as `history_upkeep.erase`; the history is to be opened anew after it."""
        with self._changing:
            return erase(self._place, self._files, users, tell)

    def _tell_damage_closed(self) -> None:
        if not self.holes:
            self._place.close_damage()


def _readable(place: HistoryStorage) -> tuple[list[HistoryFile], list[int]]:
    """The files, and the numbers of those that were not what they should be."""
    found, damaged = list[HistoryFile](), place.open_damage()
    for name, size in place.sizes().items():
        try:
            found.append(read_file(place, name, size))
        except FileDamage as damage:
            _set_aside(place, name, str(damage))
            damaged.append(number_of(name))
    return found, damaged


def _set_aside(place: HistoryStorage, name: str, why: str) -> None:
    aside = place.set_aside(name)
    logger.error("damaged file of the history: %s (%s); it is now %s, its events are read again", name, why, aside)
