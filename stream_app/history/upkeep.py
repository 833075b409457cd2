"""What is done to the files of a history later: merging days, removing old ones, erasing users.

A file is replaced in one step, and at no moment is an offset covered by no file. After a crash nothing has to be
repaired but to remove the files that another one covers.
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
from stream_app.history.files import FileDamage, HistoryFile, merged_metadata, read_rows, rewrite_file, users_of
from stream_app.history.offset_chain import runs
from stream_app.history.storage import HistoryStorage

DAY_MS: Final = 86_400_000

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """How much an erasure of users removed."""

    users: int  # whose erasure was asked for
    rows: int  # erased events
    files: int  # rewritten files
    removed: int  # damaged files, set aside before and now removed
    shown: int = 0  # erased lists of what was shown


def merged(storage: HistoryStorage, files: Sequence[HistoryFile]) -> list[HistoryFile]:
    """Merges the files of each day that another day follows into one; returns the files that are left."""
    left = list[HistoryFile]()
    *finished, present = runs(files) or [[]]
    for run in finished:
        left += [_merge(storage, run)] if len(run) > 1 else run
    return left + present


def in_format(storage: HistoryStorage, files: Sequence[HistoryFile]) -> list[HistoryFile]:
    """Writes files of a later format than the storage's table again; returns all files.

    Files of an earlier format stay as they are.
    """
    return [
        rewrite_file(storage, file.name, _rows(storage, [file]), file.metadata)
        if file.metadata.format > storage.table.format
        else file
        for file in files
    ]


def expired(storage: HistoryStorage, files: Sequence[HistoryFile], days: float, newest: int) -> list[HistoryFile]:
    """Removes files whose rows are all more than `days` (0: without limit) older than the newest event's time (ms).

    Returns the files that are left, oldest first. Days count back from the newest event, not from now, so that neither
    a stream that paused nor a clock that jumped costs the history.
    """
    left = list(files)
    while days and left and left[0].metadata.age < newest - days * DAY_MS:
        logger.info("removing %s from the history: all its rows are older than %g days", left[0].name, days)
        storage.remove(left[0].name)
        left = left[1:]
    return left


def erase(
    storage: HistoryStorage, files: Sequence[HistoryFile], users: Collection[str], report: Callable[[str], None]
) -> ErasureResult:
    """Rewrites the files that have one of these users, without them; removes damaged files, which may have them too.

    `report` gets a line about each file. Raises `HistoryFailed`; calling it again does the rest.
    """
    wanted, rows, count = set(users), 0, 0
    for file in files:
        with raising_when_damaged(storage, file):
            if wanted.isdisjoint(users_of(storage, file)):
                continue
            rewritten = rewrite_file(storage, file.name, _others(storage, file, wanted), file.metadata)
        table = storage.table
        report(f"{table.folder}{file.name}: {file.rows - rewritten.rows:,} of {file.rows:,} {table.rows} erased")
        rows, count = rows + file.rows - rewritten.rows, count + 1
    aside = storage.set_aside_names()
    for name in aside:
        storage.remove(name)
        report(f"{storage.table.folder}{name}: removed, as nobody can tell whose events are in a damaged file")
    return ErasureResult(len(wanted), rows, count, len(aside))


@contextmanager
def raising_when_damaged(storage: HistoryStorage, file: HistoryFile) -> Iterator[None]:
    """Sets a file aside that turns out to be damaged and raises `HistoryFailed`."""
    try:
        yield
    except FileDamage as damage:
        aside = storage.set_aside(file.name)
        raise HistoryFailed(
            f"{storage.address}/{file.name} is damaged ({damage}); it is now {aside}: {storage.table.repair}"
        ) from damage


def _merge(storage: HistoryStorage, run: Sequence[HistoryFile]) -> HistoryFile:
    """Replaces the newest file of a run by all of its rows; from then on the others do not count, as it covers them."""
    merged_file = rewrite_file(storage, run[-1].name, _rows(storage, run), merged_metadata(f.metadata for f in run))
    for file in run[:-1]:
        storage.remove(file.name)
    rows = storage.table.rows
    logger.info("merged %d files of %s into one with %d %s", len(run), merged_file.day, merged_file.rows, rows)
    return merged_file


def _rows(storage: HistoryStorage, files: Sequence[HistoryFile]) -> Iterator[pa.RecordBatch]:
    for file in files:
        with raising_when_damaged(storage, file):
            yield from read_rows(storage, file)


def _others(storage: HistoryStorage, file: HistoryFile, users: Collection[str]) -> Iterator[pa.RecordBatch]:
    erased = pa.array(sorted(users), pa.string())
    for batch in read_rows(storage, file):
        yield batch.filter(pc.invert(pc.is_in(batch["user_id"], erased)))
