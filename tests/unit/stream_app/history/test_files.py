"""Files of a history: metadata that says which offsets they cover, and damage that is noticed when they are read."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_app.contract.events import decode_batch
from stream_app.errors import HistoryFailed, HistoryUnusable
from stream_app.history import files
from stream_app.history.files import (
    KEY,
    FileDamage,
    FileMetadata,
    FileWriter,
    HistoryFile,
    Span,
    merged_metadata,
    name_of,
    read_actions,
    read_file,
    read_rows,
    rewrite_file,
    users_of,
    with_rows,
    write_file,
)
from stream_app.history.rows import rows_of
from stream_app.history.storage import HistoryStorage
from stream_app.history.tables import EVENTS, EVENTS_BEFORE
from tests.unit.builders.histories import NOON, STREAM, Topic, make_topic

EMPTY = FileMetadata(STREAM, {0: Span(0, 8)}, written=NOON + 100)


def rows(first: int, end: int) -> pa.RecordBatch:
    """Rows of the events at these offsets of partition 0."""
    records = [record for record in make_topic(days=2).records[0][first:end] if record is not None]
    return rows_of(0, [record.offset for record in records], decode_batch(records))


@pytest.fixture
def storage(tmp_path: Path) -> HistoryStorage:
    return HistoryStorage(str(tmp_path))


def written(storage: HistoryStorage, *batches: pa.RecordBatch) -> HistoryFile:
    """Writes a file with these rows."""
    metadata = EMPTY
    for batch in batches:
        metadata = with_rows(metadata, batch)
    return write_file(storage, 1, batches, metadata)


def test_metadata_follows_the_rows() -> None:
    metadata = with_rows(with_rows(EMPTY, rows(0, 2)), rows(2, 4))
    assert (metadata.oldest, metadata.newest) == (NOON, NOON + 3)
    assert metadata.last == {0: (3, NOON + 3)}
    assert metadata.spans == EMPTY.spans
    assert with_rows(metadata, rows(0, 0)) == metadata


def test_no_record_counts_as_newer_than_its_file() -> None:
    assert EMPTY.age == NOON + 100
    assert msgspec.structs.replace(EMPTY, newest=NOON).age == NOON
    assert msgspec.structs.replace(EMPTY, newest=NOON + 101).age == NOON + 100


def test_metadata_of_neighbours_is_merged() -> None:
    older = FileMetadata(STREAM, {0: Span(0, 4)}, 10, missing=1, oldest=3, newest=9, last={0: (3, 9)})
    newer = FileMetadata(STREAM, {0: Span(4, 6), 1: Span(0, 2)}, 9, missing=2, oldest=2, newest=5, last={1: (1, 5)})
    assert merged_metadata([older, newer]) == FileMetadata(
        STREAM, {0: Span(0, 6), 1: Span(0, 2)}, 10, missing=3, oldest=2, newest=9, last={0: (3, 9), 1: (1, 5)}
    )
    assert merged_metadata([older]) is older
    empty = FileMetadata(STREAM, {0: Span(6, 6)}, 11)
    assert (merged_metadata([empty, empty]).oldest, merged_metadata([empty, older]).oldest) == (None, 3)


def test_what_was_written_is_read(storage: HistoryStorage) -> None:
    file = written(storage, rows(0, 3), rows(3, 8))
    assert (file.number, file.day, file.rows) == (1, "2026-01-02", 8), "its newest record is newer than the file"
    assert storage.sizes() == {file.name: file.size}
    assert read_file(storage, file.name, file.size) == file
    assert pa.Table.from_batches(read_rows(storage, file)).equals(pa.Table.from_batches([rows(0, 8)]))
    assert users_of(storage, file) == {"u0", "u1", "u2"}


@pytest.mark.parametrize("skip", [0, 1, 3, 4, 7, 8])
def test_the_first_rows_are_skipped_across_row_groups(
    storage: HistoryStorage, monkeypatch: pytest.MonkeyPatch, skip: int
) -> None:
    monkeypatch.setattr(files, "ROWS", 3)
    file = written(storage, rows(0, 2), rows(2, 4), rows(4, 8))
    offsets = [offset for batch in read_rows(storage, file, skip) for offset in batch["offset"].to_pylist()]
    assert offsets == list(range(skip, 8))


def test_rows_are_replaced_and_the_metadata_can_stay(storage: HistoryStorage) -> None:
    file = written(storage, rows(0, 8))
    rewritten = rewrite_file(storage, file.name, [rows(2, 4)], file.metadata)
    assert (rewritten.name, rewritten.rows, rewritten.metadata) == (file.name, 2, file.metadata)
    assert read_file(storage, file.name, rewritten.size) == rewritten


def baskets() -> pa.RecordBatch:
    """Rows of baskets with 1 to 5 lines, in two partitions."""
    topic = Topic()
    for size in (1, 3, 1, 5, 2):
        topic.add(0, market="DE", items=[{"item_id": f"i{line}"} for line in range(size)])
    records = [record for record in topic.records[0] if record is not None]
    return rows_of(0, [record.offset for record in records], decode_batch(records))


@pytest.mark.parametrize("rows_read", [1, 2, 3, 50_000])
def test_a_file_of_the_format_before_is_read_with_lines_and_without_markets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_read: int
) -> None:
    monkeypatch.setattr(files, "ROWS", rows_read)
    before = HistoryStorage(str(tmp_path), EVENTS_BEFORE)
    file = written(before, baskets())
    assert file.metadata.format == 1
    assert pq.read_schema(tmp_path / file.name).names == [
        name for name in baskets().schema.names if name not in ("line", "market")
    ]
    storage = HistoryStorage(str(tmp_path))
    assert read_file(storage, file.name, file.size) == file
    read = pa.Table.from_batches(read_rows(storage, file))
    assert read.schema == EVENTS.schema
    assert read["line"].to_pylist() == [0, 0, 1, 2, 0, 0, 1, 2, 3, 4, 0, 1]
    assert read["market"].to_pylist() == [None] * 12
    columns = ("offset", "item_id")
    assert read.select(columns).to_pydict() == baskets().select(columns).to_pydict()
    if rows_read > 12:  # a row group that is skipped is not read, so nobody knows which lines its last event has
        for skip in range(13):
            lines = [line for batch in read_actions(storage, file, skip) for line in batch["line"].to_pylist()]
            assert lines == read["line"].to_pylist()[skip:]


def test_a_file_of_the_format_before_becomes_a_current_one_when_it_is_written_again(tmp_path: Path) -> None:
    file = written(HistoryStorage(str(tmp_path), EVENTS_BEFORE), baskets())
    storage = HistoryStorage(str(tmp_path))
    again = rewrite_file(storage, file.name, read_rows(storage, file), file.metadata)
    assert again.metadata == msgspec.structs.replace(file.metadata, format=2)
    assert read_file(storage, again.name, again.size) == again
    rows = pa.Table.from_batches(read_rows(storage, again))
    assert rows.drop_columns("market").equals(pa.Table.from_batches([baskets()]).drop_columns("market"))


def test_a_file_of_a_later_format_is_not_damaged_but_refused(storage: HistoryStorage, tmp_path: Path) -> None:
    later = msgspec.json.encode(msgspec.structs.replace(EMPTY, format=3))
    path = tmp_path / name_of(1, "2026-01-02")
    path.parent.mkdir()
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({KEY: later}), path)
    with pytest.raises(HistoryUnusable, match="has format 3, this nextact reads formats up to 2: update nextact"):
        read_file(storage, name_of(1, "2026-01-02"), 1)


@pytest.mark.parametrize("content", [b"", b"PAR1" + bytes(100) + b"PAR1", None], ids=["empty", "garbage", "others'"])
def test_a_file_that_was_not_written_so_is_damaged(
    storage: HistoryStorage, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / name_of(1, "2026-01-02")
    path.parent.mkdir()
    if content is None:
        pq.write_table(pa.table({"x": [1]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(FileDamage):
        read_file(storage, name_of(1, "2026-01-02"), 1)


def test_a_file_that_is_gone_is_not_damaged(storage: HistoryStorage) -> None:
    with pytest.raises(HistoryFailed, match="cannot be read"):
        read_file(storage, name_of(1, "2026-01-02"), 1)


def test_files_are_written_behind_an_fsspec_address_too() -> None:
    storage = HistoryStorage(f"memory://{uuid4()}")
    storage.claim()
    file = written(storage, rows(0, 8))
    assert read_file(storage, file.name, file.size) == file


def test_a_disk_without_space_ends_the_process() -> None:
    def write() -> None:
        with FileWriter(Path("/dev/full"), EVENTS) as writer:
            writer.write(rows(0, 8))
            writer.close(EMPTY)

    with pytest.raises(HistoryFailed, match="No space left on device"):
        write()
