"""One file of the history: its rows, and in its metadata the offsets of the topic that it covers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stream_app.errors import HistoryFailed, HistoryUnusable
from stream_app.history.rows import ACTION_COLUMNS, REPEATING, Completion, day_of
from stream_app.history.storage import HistoryStorage, number_of
from stream_app.history.tables import FORMAT, FORMAT_BEFORE, Table

KEY: Final = b"nextact"  # the key in the Parquet metadata under which `FileMetadata` stands as JSON
ROWS: Final = 50_000  # rows of a row group, and of a batch that is read


class Stream(msgspec.Struct, frozen=True):
    """The topic that offsets belong to. A topic that was created again has a higher epoch (NEXTACT_STREAM_EPOCH)."""

    cluster: str  # the id of the Kafka cluster
    topic: str
    epoch: int


class Span(msgspec.Struct, frozen=True, array_like=True):
    """A range of offsets of a partition. Records that are not events and markers of transactions count, too."""

    first: int
    next: int


class FileMetadata(msgspec.Struct, frozen=True):
    """The metadata of a file. `oldest` and `newest` are record times, `written` is the trainer's clock, all in ms."""

    stream: Stream
    spans: dict[int, Span]  # by partition, empty ones included; a partition's first span begins at 0
    written: int
    missing: int = 0  # records of the spans that Kafka had removed before they were read
    oldest: int | None = None
    newest: int | None = None
    last: dict[int, tuple[int, int]] = {}  # each partition's last row: offset and record time
    format: int = FORMAT

    @property
    def age(self) -> int:
        """The time (ms) that stands for the file's age; no record counts as newer than the file itself."""
        return self.written if self.newest is None else min(self.newest, self.written)


class _Format(msgspec.Struct, frozen=True):
    """The one field that every format of the metadata has."""

    format: int


@dataclass(frozen=True, slots=True)
class HistoryFile:
    """A file of the history; `size` is in bytes."""

    name: str
    size: int
    rows: int
    metadata: FileMetadata

    @property
    def number(self) -> int:
        """The file's number, by which files are ordered."""
        return number_of(self.name)

    @property
    def day(self) -> str:
        """The day (UTC) of the file's newest record, as 2026-01-31."""
        return self.name[len("day=") : len("day=2026-01-31")]


class FileDamage(Exception):
    """A file is not as it was written; the message says why."""


def with_rows(metadata: FileMetadata, rows: pa.RecordBatch) -> FileMetadata:
    """Returns the metadata of a file to which these rows are appended."""
    times = rows["record_time"].cast(pa.int64())
    bounds = pc.min_max(times)
    columns = zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), times.to_pylist(), strict=True)
    return msgspec.structs.replace(
        metadata,
        oldest=_known(min, metadata.oldest, bounds["min"].as_py()),
        newest=_known(max, metadata.newest, bounds["max"].as_py()),
        last=metadata.last | {partition: (offset, time) for partition, offset, time in columns if time is not None},
    )


def merged_metadata(neighbours: Iterable[FileMetadata]) -> FileMetadata:
    """Returns the metadata of a file that has the rows of all these neighbours, which come oldest first."""
    merged, *others = neighbours
    for other in others:
        merged = FileMetadata(
            stream=other.stream,
            spans={p: Span(merged.spans.get(p, span).first, span.next) for p, span in other.spans.items()},
            written=max(merged.written, other.written),
            missing=merged.missing + other.missing,
            oldest=_known(min, merged.oldest, other.oldest),
            newest=_known(max, merged.newest, other.newest),
            last=merged.last | other.last,
        )
    return merged


class FileWriter:
    """Writes a file of a table to a path of this machine. Raises `HistoryFailed` when it cannot be written."""

    def __init__(self, path: Path, table: Table) -> None:
        self._path, self._table, self._schema = path, table, table.written
        self._buffered: list[pa.RecordBatch] = []
        self.rows = 0
        with self._failing():
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", write_page_checksum=True)

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # `close` may have raised it already; the file will not be used
            self._writer.close()

    def write(self, rows: pa.RecordBatch) -> None:
        """Adds rows; small batches are buffered, as every row group costs space and time."""
        self._buffered.append(rows)
        self.rows += rows.num_rows
        if sum(batch.num_rows for batch in self._buffered) >= ROWS:
            self._flush()

    def close(self, metadata: FileMetadata) -> FileMetadata:
        """Writes the metadata and ends the file; returns the metadata with the format that was written."""
        self._flush()
        metadata = msgspec.structs.replace(metadata, format=self._table.format)
        with self._failing():
            self._writer.add_key_value_metadata({KEY: msgspec.json.encode(metadata)})
            self._writer.close()
        return metadata

    def _flush(self) -> None:
        rows = pa.Table.from_batches([batch.select(self._schema.names) for batch in self._buffered], self._schema)
        self._buffered.clear()
        if rows.num_rows:
            with self._failing():
                self._writer.write_table(rows, row_group_size=ROWS)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HistoryFailed(
                f"the history cannot be written: {self._path}: {error}. Nothing is lost: the next start reads what it "
                "lacks from Kafka"
            ) from error


def write_file(
    storage: HistoryStorage, number: int, batches: Iterable[pa.RecordBatch], metadata: FileMetadata, day: str = ""
) -> HistoryFile:
    """Writes a new file under `number`; its day is that of its newest record unless `day` is given."""
    return write_as(storage, name_of(number, day or day_of(metadata.age)), batches, metadata)


def write_as(
    storage: HistoryStorage, name: str, batches: Iterable[pa.RecordBatch], metadata: FileMetadata
) -> HistoryFile:
    """Writes a new file under a name that its table's files may have."""
    return _written(storage, name, batches, metadata, replace=False)


def rewrite_file(
    storage: HistoryStorage, name: str, batches: Iterable[pa.RecordBatch], metadata: FileMetadata
) -> HistoryFile:
    """Replaces the rows of a file, in one step."""
    return _written(storage, name, batches, metadata, replace=True)


def name_of(number: int, day: str) -> str:
    """Returns the name of the file with this number and day, relative to the storage."""
    return f"day={day}/{number:020d}.parquet"


def read_file(storage: HistoryStorage, name: str, size: int) -> HistoryFile:
    """Reads the metadata of a file. Raises `FileDamage`, or `HistoryUnusable` for a later format."""
    with _damage(storage, name), storage.opened(name) as file:
        entries, rows = file.metadata.metadata or {}, file.metadata.num_rows
        version = msgspec.json.decode(entries[KEY], type=_Format).format
        if version not in (FORMAT, FORMAT_BEFORE):
            raise HistoryUnusable(
                f"{storage.address}/{name} has format {version}, this nextact reads formats up to {FORMAT}: "
                "update nextact"
            )
        return HistoryFile(name, size, rows, msgspec.json.decode(entries[KEY], type=FileMetadata))


def read_rows(storage: HistoryStorage, file: HistoryFile, skip: int = 0) -> Iterator[pa.RecordBatch]:
    """Yields all rows of a file but the first `skip`, in order, with all columns. Raises `FileDamage`."""
    yield from _batches(storage, file, storage.table.schema.names, skip)


def read_actions(storage: HistoryStorage, file: HistoryFile, skip: int = 0) -> Iterator[pa.RecordBatch]:
    """Yields rows as `read_rows` does, with only the columns that actions are made of. Raises `FileDamage`."""
    yield from _batches(storage, file, ACTION_COLUMNS, skip, read_dictionary=REPEATING)


def read_columns(storage: HistoryStorage, file: HistoryFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yields all rows of a file with these columns. Raises `FileDamage`."""
    yield from _batches(storage, file, columns)


def users_of(storage: HistoryStorage, file: HistoryFile) -> set[str]:
    """Returns the ids of all users in a file. Raises `FileDamage`."""
    batches = _batches(storage, file, ["user_id"], read_dictionary=["user_id"])
    return {user for batch in batches for user in pc.unique(batch["user_id"]).to_pylist()}


def _batches(
    storage: HistoryStorage,
    file: HistoryFile,
    columns: Sequence[str],
    skip: int = 0,
    read_dictionary: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    with _damage(storage, file.name), storage.opened(file.name, read_dictionary) as opened:
        groups = range(opened.num_row_groups)
        while groups and skip >= (rows := opened.metadata.row_group(groups[0]).num_rows):
            groups, skip = groups[1:], skip - rows
        completion = Completion(storage.table.schema, opened.schema_arrow.names, columns)
        for batch in opened.iter_batches(ROWS, row_groups=groups, columns=completion.read):
            if (complete := completion.of(batch)).num_rows > skip:
                yield complete.slice(skip)
            skip = max(0, skip - batch.num_rows)


def _written(
    storage: HistoryStorage, name: str, batches: Iterable[pa.RecordBatch], metadata: FileMetadata, *, replace: bool
) -> HistoryFile:
    with storage.scratch(name) as scratch:
        with FileWriter(scratch, storage.table) as writer:
            for batch in batches:
                writer.write(batch)
            metadata = writer.close(metadata)
        size = storage.publish(scratch, name, replace=replace)
    return HistoryFile(name, size, writer.rows, metadata)


def _known(choose: Callable[[list[int]], int], *times: int | None) -> int | None:
    known = [time for time in times if time is not None]
    return choose(known) if known else None


@contextmanager
def _damage(storage: HistoryStorage, name: str) -> Iterator[None]:
    """Raises `FileDamage` for a damaged file, `HistoryFailed` for one that cannot be read at the moment."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise HistoryFailed(f"{storage.address}/{name} cannot be read: {storage.why(error)}") from error
        raise FileDamage(str(error)) from error
    except (pa.ArrowException, KeyError, msgspec.DecodeError) as error:
        raise FileDamage(str(error)) from error
