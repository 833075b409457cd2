"""Lists what is in a history, without taking its lock: a trainer may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stream_app.errors import HistoryFailed, InputUnreadable
from stream_app.history.files import FileDamage, HistoryFile, merged_metadata, read_file
from stream_app.history.offset_chain import check_chain, positions
from stream_app.history.storage import HistoryStorage
from stream_app.history.tables import IMPORTED, SHOWN


@dataclass(frozen=True, slots=True)
class Day:
    """The files of one day. `oldest` and `newest` are record times in RFC 3339, None if no record has a valid one."""

    day: str
    files: int
    rows: int  # events; those of a basket one by one
    shown: int  # lists of what was shown
    bytes: int
    oldest: str | None
    newest: str | None
    missing: int  # records that Kafka had removed before they were read
    positions: dict[int, int]  # by partition: the offset at which the next day's files go on


@dataclass(frozen=True, slots=True)
class ImportedSource:
    """What was imported from one file of the shop. `oldest` and `newest` are event times as in `Day`."""

    imported: str  # the file's name at its first import
    files: int
    rows: int
    bytes: int
    oldest: str | None
    newest: str | None


def list_imports(address: str) -> list[ImportedSource]:
    """Returns the sources of imported events, without damaged files. Raises `HistoryFailed`."""
    sources: dict[str, list[HistoryFile]] = {}
    for file in readable(HistoryStorage(address, IMPORTED)):
        sources.setdefault(file.metadata.stream.cluster, []).append(file)
    return sorted(map(_source, sources.values()), key=lambda source: source.oldest or "")


def imports_table(sources: Sequence[ImportedSource]) -> Iterator[str]:
    """Yields lines for a terminal: one per source, and no line without any."""
    for source in sources:
        counts = f"{source.files:5}  {source.rows:12,}  {'':10}  {source.bytes:14,}  {'':8}"
        yield f"imported    {counts}  {source.oldest or '-'} .. {source.newest or '-'}  {source.imported}"


def list_days(address: str) -> list[Day]:
    """Returns the days in the order in which they were read, without damaged files. Raises `HistoryFailed`."""
    storage = HistoryStorage(address)
    events = _by_day(storage)
    shown = _by_day(storage.beside(SHOWN))
    days = [*events, *(day for day in shown if day not in events)]
    return [_day(day, events.get(day, []), shown.get(day, [])) for day in days]


def days_table(days: Sequence[Day]) -> Iterator[str]:
    """Yields lines for a terminal: one per day, then the positions."""
    yield f"{'day':10}  {'files':>5}  {'events':>12}  {'shown':>10}  {'bytes':>14}  {'missing':>8}  from .. to"
    for day in days:
        times = f"{day.oldest or '-'} .. {day.newest or '-'}"
        counts = f"{day.files:5}  {day.rows:12,}  {day.shown:10,}  {day.bytes:14,}  {day.missing:8,}"
        yield f"{day.day}  {counts}  {times}"
    ends = next((day.positions for day in reversed(days) if day.positions), {})
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


def readable(storage: HistoryStorage) -> Iterator[HistoryFile]:
    """Yields the files, without damaged ones. Raises `HistoryFailed`."""
    for name, size in storage.sizes().items():
        try:
            yield read_file(storage, name, size)
        except FileDamage:
            continue  # the trainer reports it at its next start
        except HistoryFailed:
            if name in storage.sizes():  # else it was merged or removed meanwhile
                raise


def _by_day(storage: HistoryStorage) -> dict[str, list[HistoryFile]]:
    days: dict[str, list[HistoryFile]] = {}
    for file in check_chain(list(readable(storage))).files:
        days.setdefault(file.day, []).append(file)
    return days


def _day(day: str, events: Sequence[HistoryFile], shown: Sequence[HistoryFile]) -> Day:
    files = [*events, *shown]
    metadata = merged_metadata(file.metadata for file in files)
    return Day(
        day=day,
        files=len(files),
        rows=sum(file.rows for file in events),
        shown=sum(file.rows for file in shown),
        bytes=sum(file.size for file in files),
        oldest=_rfc3339(metadata.oldest),
        newest=_rfc3339(metadata.newest),
        missing=metadata.missing,
        positions=positions(events),
    )


def _source(files: Sequence[HistoryFile]) -> ImportedSource:
    first = min(files, key=lambda file: file.metadata.spans[0].first)
    metadata = [file.metadata for file in files]
    return ImportedSource(
        imported=first.metadata.stream.topic,
        files=len(files),
        rows=sum(file.rows for file in files),
        bytes=sum(file.size for file in files),
        oldest=_rfc3339(min((one.oldest for one in metadata if one.oldest is not None), default=None)),
        newest=_rfc3339(max((one.newest for one in metadata if one.newest is not None), default=None)),
    )


def _rfc3339(time: int | None) -> str | None:
    return None if time is None else datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds")
