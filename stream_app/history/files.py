"""One file of the history: its rows, and in its metadata which offsets of the topic it answers for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stream_app.errors import HistoryFailed, HistoryUnusable
from stream_app.history.rows import ACTION_COLUMNS, REPEATING, SCHEMA, day_of
from stream_app.history.storage import HistoryStorage, number_of

FORMAT: Final = 1
KEY: Final = b"nextact"  # in the file's metadata: Facts as JSON
ROWS: Final = 50_000  # of a row group, and of a chunk that is read


class Stream(msgspec.Struct, frozen=True):
    """Whose offsets they are. A topic that was made anew has a higher epoch (NEXTACT_STREAM_EPOCH)."""

    cluster: str  # its id
    topic: str
    epoch: int


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Offsets of a partition: records that are no events and markers of transactions are in it too."""

    first: int
    next: int


class FileMetadata(msgspec.Struct, frozen=True):
    """What the metadata says. `oldest` and `newest` are record times, `written` the trainer's clock, all in ms."""

    stream: Stream
    spans: dict[int, Span]  # of every partition, also where it is empty; a partition's first one begins at 0
    written: int
    missing: int = 0  # records of the spans that Kafka had removed before they were read
    oldest: int | None = None
    newest: int | None = None
    last: dict[int, tuple[int, int]] = {}  # each partition's last row: offset and record time
    format: int = FORMAT

    @property
    def age(self) -> int:
        """The time that counts for the file's age: no record is newer than the file, whatever its timestamp says."""
        return self.written if self.newest is None else min(self.newest, self.written)


class _Format(msgspec.Struct, frozen=True):
    """The one field that every format has."""

    format: int


@dataclass(frozen=True, slots=True)
class HistoryFile:
    """A file as it lies there; `size` in bytes."""

    name: str
    size: int
    rows: int
    facts: FileMetadata

    @property
    def number(self) -> int:
        """Files are in the order of their numbers."""
        return number_of(self.name)

    @property
    def day(self) -> str:
        """Of its newest record, UTC."""
        return self.name[len("day=") : len("day=2026-01-31")]


class FileDamage(Exception):
    """A file is not what was written; says why."""


def with_rows(facts: FileMetadata, rows: pa.RecordBatch) -> FileMetadata:
    """Facts of a file that has these rows, too, after the others."""
    times = rows["record_time"].cast(pa.int64())
    bounds = pc.min_max(times)
    places = zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), times.to_pylist(), strict=True)
    return msgspec.structs.replace(
        facts,
        oldest=_known(min, facts.oldest, bounds["min"].as_py()),
        newest=_known(max, facts.newest, bounds["max"].as_py()),
        last=facts.last | {partition: (offset, time) for partition, offset, time in places if time is not None},
    )


def joined(parts: Iterable[FileMetadata]) -> FileMetadata:
    """The facts of neighbours in one file, the older first."""
    first, *others = parts
    for other in others:
        first = FileMetadata(
            stream=other.stream,
            spans={p: Span(first.spans.get(p, span).first, span.next) for p, span in other.spans.items()},
            written=max(first.written, other.written),
            missing=first.missing + other.missing,
            oldest=_known(min, first.oldest, other.oldest),
            newest=_known(max, first.newest, other.newest),
            last=first.last | other.last,
        )
    return first


class FileWriter:
    """A file in the making, at a path of this machine. Raises `HistoryFailed` when there is no room for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[pa.RecordBatch] = []
        self.rows = 0
        with self._failing():
            self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd", write_page_checksum=True)

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a second time, of a file that will not be used
            self._writer.close()

    def write(self, rows: pa.RecordBatch) -> None:
        """Adds rows; small batches are collected, as every group of rows has a price."""
        self._waiting.append(rows)
        self.rows += rows.num_rows
        if sum(batch.num_rows for batch in self._waiting) >= ROWS:
            self._flush()

    def close(self, facts: FileMetadata) -> None:
        """Adds the metadata; nothing can be added after it."""
        self._flush()
        with self._failing():
            self._writer.add_key_value_metadata({KEY: msgspec.json.encode(facts)})
            self._writer.close()

    def _flush(self) -> None:
        rows = pa.Table.from_batches(self._waiting, SCHEMA)
        self._waiting.clear()
        if rows.num_rows:
            with self._failing():
                self._writer.write_table(rows, row_group_size=ROWS)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HistoryFailed(
                f"the history cannot be written: {self._path}: {error}. Nothing is lost: what it lacks, the next start "
                "reads from Kafka"
            ) from error


def publish(
    place: HistoryStorage, number: int, batches: Iterable[pa.RecordBatch], facts: FileMetadata, day: str = ""
) -> HistoryFile:
    """Writes a file of rows with a new number, of the day of its newest record where no other is given."""
    name = name_of(number, day or day_of(facts.age))
    return _written(place, name, batches, facts, replace=False)


def rewrite(place: HistoryStorage, name: str, batches: Iterable[pa.RecordBatch], facts: FileMetadata) -> HistoryFile:
    """Writes other rows in the place of a file, in one step."""
    return _written(place, name, batches, facts, replace=True)


def name_of(number: int, day: str) -> str:
    """The name of a file."""
    return f"day={day}/{number:020d}.parquet"


def read_file(place: HistoryStorage, name: str, size: int) -> HistoryFile:
    """A file by its metadata. Raises `FileDamage`; `HistoryUnusable` for a later format."""
    with _damage(place, name), place.opened(name) as file:
        found, rows = file.metadata.metadata or {}, file.metadata.num_rows
        version = msgspec.json.decode(found[KEY], type=_Format).format
        if version != FORMAT:
            raise HistoryUnusable(
                f"{place.address}/{name} has format {version}, this nextact reads format {FORMAT}: update nextact"
            )
        return HistoryFile(name, size, rows, msgspec.json.decode(found[KEY], type=FileMetadata))


def read_rows(place: HistoryStorage, file: HistoryFile, skip: int = 0) -> Iterator[pa.RecordBatch]:
    """All rows of a file but the first `skip`, in order, for copying. Raises `FileDamage`."""
    yield from _batches(place, file, skip)


def read_actions(place: HistoryStorage, file: HistoryFile, skip: int = 0) -> Iterator[pa.RecordBatch]:
    """The columns that actions are made of. Raises `FileDamage`."""
    yield from _batches(place, file, skip, columns=list(ACTION_COLUMNS), read_dictionary=REPEATING)


def users_of(place: HistoryStorage, file: HistoryFile) -> set[str]:
    """The ids of the users of a file. Raises `FileDamage`."""
    batches = _batches(place, file, columns=["user_id"], read_dictionary=["user_id"])
    return {user for batch in batches for user in pc.unique(batch["user_id"]).to_pylist()}


def _batches(
    place: HistoryStorage, file: HistoryFile, skip: int = 0, *, read_dictionary: Iterable[str] = (), **options: Any
) -> Iterator[pa.RecordBatch]:
    with _damage(place, file.name), place.opened(file.name, read_dictionary) as opened:
        groups = range(opened.num_row_groups)
        while groups and skip >= (rows := opened.metadata.row_group(groups[0]).num_rows):
            groups, skip = groups[1:], skip - rows
        for batch in opened.iter_batches(ROWS, row_groups=groups, **options):
            if skip < batch.num_rows:
                yield batch.slice(skip)
            skip = max(0, skip - batch.num_rows)


def _written(
    place: HistoryStorage, name: str, batches: Iterable[pa.RecordBatch], facts: FileMetadata, *, replace: bool
) -> HistoryFile:
    with place.scratch(name) as scratch:
        with FileWriter(scratch) as writer:
            for batch in batches:
                writer.write(batch)
            writer.close(facts)
        size = place.publish(scratch, name, replace=replace)
    return HistoryFile(name, size, writer.rows, facts)


def _known(choose: Callable[[list[int]], int], *times: int | None) -> int | None:
    known = [time for time in times if time is not None]
    return choose(known) if known else None


@contextmanager
def _damage(place: HistoryStorage, name: str) -> Iterator[None]:
    """Tells a file that is damaged from one that cannot be read now."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise HistoryFailed(f"{place.address}/{name} cannot be read: {error.strerror or error}") from error
        raise FileDamage(str(error)) from error
    except (pa.ArrowException, KeyError, msgspec.DecodeError) as error:
        raise FileDamage(str(error)) from error
