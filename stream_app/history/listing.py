"""What is in a history, without a lock: a trainer may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from stream_app.errors import HistoryFailed, InputUnreadable
from stream_app.history.files import FileDamage, HistoryFile, joined, read_file
from stream_app.history.offset_chain import check_chain, positions
from stream_app.history.storage import HistoryStorage


@dataclass(frozen=True, slots=True)
class Day:
    """The files of a day. Times are RFC 3339, of records; None where none of them has one that can be."""

    day: str
    files: int
    rows: int
    bytes: int
    oldest: str | None
    newest: str | None
    missing: int  # records that Kafka had removed before they were read
    positions: dict[int, int]  # by partition: where the next day's files go on


def list_days(address: str) -> list[Day]:
    """The days in the order in which they were read. Raises `HistoryFailed`; damaged files are left out."""
    files = check_chain(list(_readable(HistoryStorage(address)))).files
    return [_day(day, list(group)) for day, group in groupby(files, key=lambda file: file.day)]


def table(days: Sequence[Day]) -> Iterator[str]:
    """For a person: a line per day, then the positions."""
    yield f"{'day':10}  {'files':>5}  {'events':>12}  {'bytes':>14}  {'missing':>8}  from .. to"
    for day in days:
        times = f"{day.oldest or '-'} .. {day.newest or '-'}"
        yield f"{day.day}  {day.files:5}  {day.rows:12,}  {day.bytes:14,}  {day.missing:8,}  {times}"
    ends = days[-1].positions if days else {}
    yield "goes on at " + (
        ", ".join(f"{p}:{ends[p]}" for p in sorted(ends)) or "the oldest events: there is no file yet"
    )


def read_users(path: str) -> set[str]:
    """User ids, one a line. Raises `InputUnreadable`."""
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as lines:  # noqa: PTH123 - as given
            found = {line.rstrip("\r\n") for line in lines} - {""}
    except (OSError, UnicodeError) as error:
        raise InputUnreadable(
            f"{path} cannot be read: {error}. Give a text file in UTF-8, one user id a line"
        ) from error
    if not found:
        raise InputUnreadable(f"{path} has no user id: write one a line")
    return found


def _readable(place: HistoryStorage) -> Iterator[HistoryFile]:
    for name, size in place.sizes().items():
        try:
            yield read_file(place, name, size)
        except FileDamage:
            continue  # the trainer's next start tells of it
        except HistoryFailed:
            if name in place.sizes():  # else it has been merged or forgotten since
                raise


def _day(day: str, files: Sequence[HistoryFile]) -> Day:
    stream = [file for file in files if file.facts.stream == files[-1].facts.stream]
    facts = joined(file.facts for file in files)
    return Day(
        day=day,
        files=len(files),
        rows=sum(file.rows for file in files),
        bytes=sum(file.size for file in files),
        oldest=_rfc3339(facts.oldest),
        newest=_rfc3339(facts.newest),
        missing=facts.missing,
        positions=positions(stream),
    )


def _rfc3339(time: int | None) -> str | None:
    return None if time is None else datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds")
