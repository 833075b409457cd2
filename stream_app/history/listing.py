"""Lists what is in a history, without taking its lock: a trainer may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from stream_app.errors import HistoryFailed, InputUnreadable
from stream_app.history.files import FileDamage, HistoryFile, merged_metadata, read_file
from stream_app.history.offset_chain import check_chain, positions
from stream_app.history.storage import HistoryStorage


@dataclass(frozen=True, slots=True)
class Day:
    """The files of one day. `oldest` and `newest` are record times in RFC 3339, None if no record has a valid one."""

    day: str
    files: int
    rows: int
    bytes: int
    oldest: str | None
    newest: str | None
    missing: int  # records that Kafka had removed before they were read
    positions: dict[int, int]  # by partition: the offset at which the next day's files go on


def list_days(address: str) -> list[Day]:
    """Returns the days in the order in which they were read, without damaged files. Raises `HistoryFailed`."""
    files = check_chain(list(_readable(HistoryStorage(address)))).files
    return [_day(day, list(group)) for day, group in groupby(files, key=lambda file: file.day)]


def days_table(days: Sequence[Day]) -> Iterator[str]:
    """Yields lines for a terminal: one per day, then the positions."""
    yield f"{'day':10}  {'files':>5}  {'events':>12}  {'bytes':>14}  {'missing':>8}  from .. to"
    for day in days:
        times = f"{day.oldest or '-'} .. {day.newest or '-'}"
        yield f"{day.day}  {day.files:5}  {day.rows:12,}  {day.bytes:14,}  {day.missing:8,}  {times}"
    ends = days[-1].positions if days else {}
    yield "goes on at " + (
        ", ".join(f"{p}:{ends[p]}" for p in sorted(ends)) or "the oldest events: there is no file yet"
    )


def read_users(path: str) -> set[str]:
    """Reads user ids, one a line. Raises `InputUnreadable`."""
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as lines:  # noqa: PTH123 - as given
            users = {line.rstrip("\r\n") for line in lines} - {""}
    except (OSError, UnicodeError) as error:
        raise InputUnreadable(
            f"{path} cannot be read: {error}. Give a text file in UTF-8, one user id a line"
        ) from error
    if not users:
        raise InputUnreadable(f"{path} has no user id: write one a line")
    return users


def _readable(storage: HistoryStorage) -> Iterator[HistoryFile]:
    for name, size in storage.sizes().items():
        try:
            yield read_file(storage, name, size)
        except FileDamage:
            continue  # the trainer reports it at its next start
        except HistoryFailed:
            if name in storage.sizes():  # else it was merged or removed meanwhile
                raise


def _day(day: str, files: Sequence[HistoryFile]) -> Day:
    of_newest_stream = [file for file in files if file.metadata.stream == files[-1].metadata.stream]
    metadata = merged_metadata(file.metadata for file in files)
    return Day(
        day=day,
        files=len(files),
        rows=sum(file.rows for file in files),
        bytes=sum(file.size for file in files),
        oldest=_rfc3339(metadata.oldest),
        newest=_rfc3339(metadata.newest),
        missing=metadata.missing,
        positions=positions(of_newest_stream),
    )


def _rfc3339(time: int | None) -> str | None:
    return None if time is None else datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds")
