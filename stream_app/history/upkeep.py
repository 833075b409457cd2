"""What is done to the files of a history later. Each function takes its files, oldest first, and returns those that
are left. A file is replaced in one step and no offset is without an owner at any moment, so that a crash needs no
repair but the removal of files that another one covers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from stream_app.errors import HistoryFailed
from stream_app.history.files import FileDamage, HistoryFile, joined, read_rows, rewrite, users_of
from stream_app.history.offset_chain import runs
from stream_app.history.storage import HistoryStorage

_DAY_MS: Final = 86_400_000

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """What the erasure of users came to."""

    users: int
    rows: int
    files: int  # rewritten
    removed: int  # damaged files that had been set aside


def merged(place: HistoryStorage, files: Sequence[HistoryFile]) -> list[HistoryFile]:
    """One file in the place of the files of each day that another day follows."""
    found = list[HistoryFile]()
    *finished, present = runs(files) or [[]]
    for run in finished:
        found += [_merge(place, run)] if len(run) > 1 else run
    return found + present


def expired(place: HistoryStorage, files: Sequence[HistoryFile], days: float) -> list[HistoryFile]:
    """Without files whose events are all more than so many days older than the newest; 0: all stay. One always does.

    Days count from the newest event and not from now, so that neither a stream that paused nor a clock that jumped
    costs the history.
    """
    limit = max((file.facts.age for file in files), default=0) - days * _DAY_MS
    left = list(files)
    while days and left and left[0].facts.age < limit:
        logger.info("the history forgets %s: all of it is older than %g days", left[0].name, days)
        place.remove(left[0].name)
        left = left[1:]
    return left


def erase(
    place: HistoryStorage, files: Sequence[HistoryFile], users: Collection[str], tell: Callable[[str], None]
) -> ErasureResult:
    """Rewrites the files that have one of these users, without them; removes damaged files, which may have them too.

    `tell` is given a line about each. Raises `HistoryFailed`; calling it again does the rest.
    """
    wanted, rows, rewritten = set(users), 0, 0
    for file in files:
        with ending_when_damaged(place, file):
            if wanted.isdisjoint(users_of(place, file)):
                continue
            kept = rewrite(place, file.name, _others(place, file, wanted), file.facts)
        tell(f"{file.name}: {file.rows - kept.rows:,} of {file.rows:,} events erased")
        rows, rewritten = rows + file.rows - kept.rows, rewritten + 1
    aside = place.set_aside_names()
    for name in aside:
        place.remove(name)
        tell(f"{name}: removed, nobody can tell whose events are in it")
    return ErasureResult(len(wanted), rows, rewritten, len(aside))


@contextmanager
def ending_when_damaged(place: HistoryStorage, file: HistoryFile) -> Iterator[None]:
    """Sets a file aside that turns out to be damaged, and raises `HistoryFailed`: the next start closes the hole."""
    try:
        yield
    except FileDamage as damage:
        aside = place.set_aside(file.name)
        raise HistoryFailed(
            f"{place.address}/{file.name} is damaged ({damage}); it is now {aside}, and the next start of the trainer "
            "reads its events from Kafka again"
        ) from damage


def _merge(place: HistoryStorage, run: Sequence[HistoryFile]) -> HistoryFile:
    """It replaces the newest; the others count no more from then on, as it covers them."""
    whole = rewrite(place, run[-1].name, _rows(place, run), joined(file.facts for file in run))
    for file in run[:-1]:
        place.remove(file.name)
    logger.info("%d files of %s are one now, with %d events", len(run), whole.day, whole.rows)
    return whole


def _rows(place: HistoryStorage, files: Sequence[HistoryFile]) -> Iterator[pa.RecordBatch]:
    for file in files:
        with ending_when_damaged(place, file):
            yield from read_rows(place, file)


def _others(place: HistoryStorage, file: HistoryFile, users: Collection[str]) -> Iterator[pa.RecordBatch]:
    erased = pa.array(sorted(users), pa.string())
    for batch in read_rows(place, file):
        yield batch.filter(pc.invert(pc.is_in(batch["user_id"], erased)))
