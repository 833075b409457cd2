"""The events of a file, by partition: what users become of them is the same as from all at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.data.query_table import QueryTable
from model.state.past_users import past_users
from stream_app.contract.string_columns import strings
from stream_app.errors import UsageError
from stream_app.history.rows import ACTION_COLUMNS, actions_in
from stream_app.kafka.key_partitions import key_partitions
from stream_app.offline.past_events import PastEvents, stream_begin
from tests.unit.builders.histories import NOON, Reader, Topic, close_all
from tests.unit.builders.imports import Source, import_source
from tests.unit.builders.past import past_columns

SOURCE = Source.of([*range(40, 0, -1), *range(41, 60)], lines=2)
PARTITIONS, LENGTH = 3, 5


def test_users_come_by_partition_as_from_all_at_once(tmp_path: Path) -> None:
    pieces = import_source(tmp_path, SOURCE)
    rows = pieces[0].rows
    columns, names = past_columns(actions_in(rows.select(ACTION_COLUMNS)), rows["offset"].to_pylist())
    whole = past_users(columns, names, QueryTable(), LENGTH)
    expected = dict(zip(whole.users, whole.parts(1, 1), strict=True))
    with PastEvents(PARTITIONS, LENGTH) as past:
        for piece in pieces:
            past.add(piece)
        assert (past.end, past.user_count, past.source) == (len(SOURCE.events), 4, pieces[0].source)
        total = 0
        for events, users in past.users():
            total += events
            homes = key_partitions(strings([user.encode() for user in users.users]), PARTITIONS)
            assert len(set(homes.tolist())) == 1
            for user, part in zip(users.users, users.parts(1, 1), strict=True):
                one = expected.pop(user)
                assert np.array_equal(part.item_keys, one.item_keys)
                assert np.array_equal(part.contexts, one.contexts)
                assert np.array_equal(part.numbers, one.numbers)
                assert np.array_equal(part.counts, one.counts)
        assert (total, expected) == (len(rows), {})
        folder = Path(past._folder.name)
        assert folder.exists()
    assert not folder.exists()


def test_what_users_have_already_is_left_out(tmp_path: Path) -> None:
    with PastEvents(PARTITIONS, LENGTH, before=NOON + 10_000) as past:
        for piece in import_source(tmp_path, SOURCE):
            past.add(piece)
        assert past.end == len(SOURCE.events)
        times = np.concatenate([users.times for _, users in past.users()])
    assert times.max() == NOON + 9_000


def test_the_stream_begins_with_its_first_records(tmp_path: Path) -> None:
    folder, topic = tmp_path / "history", Topic()
    assert stream_begin(str(folder)) is None
    import_source(folder, SOURCE)
    assert stream_begin(str(folder)) is None
    for number in range(5):
        topic.add(0, time=NOON + 1000 * number)
    reader = Reader(folder, topic)
    reader.take_all().append()
    reader.close()
    close_all()
    assert stream_begin(str(folder)) == NOON + 2000


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with PastEvents(PARTITIONS, LENGTH) as past:
        for partition in range(PARTITIONS):
            past._path(partition).mkdir()
        with pytest.raises(UsageError, match="TMPDIR"):
            past.add(import_source(tmp_path, SOURCE)[0])
