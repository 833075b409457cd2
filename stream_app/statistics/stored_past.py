"""Begins the statistics with the history that a trainer keeps, which may reach further back than Kafka.

The trainer may write meanwhile: it holds the history, and nothing here changes a file of it. Where one is merged or
removed while it is read, all is counted again; where it cannot be read, the statistics begin with what Kafka has.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Final

from model.data.events import Actions
from stream_app.errors import HistoryFailed
from stream_app.history.event_history import begin_of
from stream_app.history.files import FileDamage, HistoryFile, Stream, read_actions
from stream_app.history.imported import ImportedEvents
from stream_app.history.listing import readable
from stream_app.history.offset_chain import check_chain, positions
from stream_app.history.rows import actions_in
from stream_app.history.storage import HistoryStorage
from stream_app.history.tables import IMPORTED
from stream_app.settings import Settings
from stream_app.statistics.counting import MakeCounting
from stream_app.statistics.writer import Beginning

_ATTEMPTS: Final = 3
_SAID_EVERY: Final = 5_000_000  # events between two lines of the log

logger: Final = logging.getLogger(__name__)


def stored_past(settings: Settings, cluster: str, make_counting: MakeCounting) -> Beginning | None:
    """Counts the events of the history and those that were imported; None: there are none that can be gone on with."""
    stream = Stream(cluster, settings.events_topic, settings.stream_epoch)
    for attempt in range(_ATTEMPTS):
        try:
            return _counted(HistoryStorage(settings.history_address), stream, make_counting)
        except (FileDamage, HistoryFailed) as error:
            logger.warning("the history cannot be counted (attempt %d of %d): %s", attempt + 1, _ATTEMPTS, error)
    return None


def _counted(storage: HistoryStorage, stream: Stream, make_counting: MakeCounting) -> Beginning | None:
    files = check_chain(sorted(readable(storage), key=lambda file: file.number)).files
    if files and not _is_followed(files[-1].metadata.stream, stream):
        return None
    counting, count, said = make_counting(), 0, _SAID_EVERY
    for actions in _stored(storage, files):
        counting.counter.learn(actions)
        count += len(actions)
        if count >= said:
            logger.info("%d events of the history are counted", count)
            said += _SAID_EVERY
    ends = positions(files) if files and files[-1].metadata.stream == stream else {}
    return Beginning(counting, ends) if count else None


def _is_followed(before: Stream, stream: Stream) -> bool:
    """Returns whether a stream is another one or goes on with it under a higher epoch."""
    return before == stream or (before.topic == stream.topic and before.epoch < stream.epoch)


def _stored(storage: HistoryStorage, files: list[HistoryFile]) -> Iterator[Actions]:
    """Yields what was imported, in the order of time, then what was read of Kafka."""
    for rows in ImportedEvents(storage.beside(IMPORTED)).newest(sys.maxsize, begin_of(storage, files)):
        yield actions_in(rows)
    for file in files:
        for rows in read_actions(storage, file):
            yield actions_in(rows)
