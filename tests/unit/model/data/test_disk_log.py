"""A log in parts on disk against the same log in memory."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.batches import batch_count, batches
from model.data.disk_log import DiskLog, window_of_chunks
from model.data.event_log import parts
from model.data.events import EVENT_TYPES, MOST_LINES, Actions, concatenate
from model.data.sequences import concatenate_sequences, frequent_items, sequences_of
from stream_app.history import files as history_file
from tests.unit.builders.histories import HOUR, NOON, Reader, Topic, close_all
from tests.unit.builders.logs import ROOMY, Basket, baskets_of, in_parts
from tests.unit.builders.rounds import circle
from tests.unit.builders.sequences import random_users, sequences, users_of

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bo", "cy", "di", "ed"]),
        st.sampled_from(EVENT_TYPES),
        st.sampled_from(["shoe", "hat", "tie"]),
        st.integers(0, 200),  # minutes
        st.sampled_from([None, "s1", "s2"]),
    ),
    min_size=1,
    max_size=40,
)


BASKETS = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bo", "cy"]),
        st.just("cart"),
        st.text("abc", min_size=1, max_size=4) | st.just("c" * (MOST_LINES + 2)),
        st.integers(0, 9),  # ms
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=30)
@given(BASKETS, st.integers(1, 9), st.integers(1, 45), st.integers(0, 10))
def test_lines_of_an_event_stay_together_on_disk(baskets: list[Basket], chunk: int, room: int, cut: int) -> None:
    actions = baskets_of(baskets)
    chunks = [
        actions.take(np.arange(low, min(low + chunk, len(actions)))) for low in range(0, len(actions), chunk)
    ]  # that end inside events, too
    with TemporaryDirectory() as folder, ExitStack() as files:
        window = window_of_chunks(chunks, rows=len(actions), room=room, folder=Path(folder), files=files)
        for log, expected in (
            (window.log, sequences_of(actions)),
            (window.log.before(cut), sequences_of(actions).before(cut)),
        ):
            assert len(log) == len(expected)
            assert users_of(concatenate_sequences(list(parts(log)))) == users_of(expected)
        assert window.items == frequent_items(actions), "items of lines that enter no sequence count, too"


@settings(deadline=None, max_examples=60)
@given(EVENTS, st.lists(st.integers(1, 9), max_size=5), st.integers(1, 9), st.integers(1, 45))
def test_what_is_streamed_from_files_is_what_is_read_at_once(
    events: list[tuple[str, str, str, int, str | None]], sizes: list[int], group: int, room: int
) -> None:
    topic = Topic()
    for user, kind, thing, minutes, session in events:
        fields: dict[str, Any] = {
            "type": kind,
            "item_id": thing,
            "query": thing,
            "category": thing,
            "price": float(minutes),
        }
        topic.add(0, user=user, time=NOON, **fields, timestamp=NOON + minutes * HOUR // 60, session_id=session)
    with TemporaryDirectory() as folder, ExitStack() as files, pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_file, "ROWS", group)
        reader = Reader(Path(folder) / "history", topic)
        for size in sizes:
            reader.take(0, size).append()
        history = reader.take_all().append().history
        whole = concatenate(list(history.chunks(ROOMY)))
        chunks = history.chunks(ROOMY)
        window = window_of_chunks(chunks, rows=history.rows, room=room, folder=Path(folder), files=files)
        close_all()
        result, expected = concatenate_sequences(list(parts(window.log))), sequences_of(whole)
        assert isinstance(window.log, DiskLog) == (len(events) > room)
        assert len(window.log) == len(whole) == len(events)
        assert users_of(result) == users_of(expected)
        if len(events) <= room:
            assert np.array_equal(result.offsets, expected.offsets)  # users in the same order, too
        assert window.items == frequent_items(whole)
        assert window.newest.users == whole.users


def test_only_the_newest_actions_are_kept_as_they_are(files: ExitStack, tmp_path: Path) -> None:
    chunk = circle(users=400)  # 8,000 actions
    chunks: list[Actions] = [chunk] * 4
    window = window_of_chunks(chunks, rows=4 * len(chunk), room=ROOMY, folder=tmp_path, files=files)
    assert len(window.newest) == 2 * len(chunk)
    assert window.newest.users[-400:] == chunk.users[-400:]


def test_parts_are_small_and_nothing_is_left_behind(files: ExitStack, tmp_path: Path) -> None:
    log = circle(users=2000)
    window = window_of_chunks([log], rows=len(log), room=20_000, folder=tmp_path, files=files)
    assert [path.name for path in tmp_path.iterdir()] == []  # the kernel frees what has no name
    assert 20_000 / 16 < max(len(part) for part in parts(window.log)) <= 20_000 / 8
    files.close()
    with pytest.raises(ValueError, match="closed"):
        window.log.part(0)


def test_batches_have_every_step_once_and_are_as_many_as_is_said(files: ExitStack, tmp_path: Path) -> None:
    whole = sequences(*random_users(5))
    log = in_parts(whole, 4, ROOMY, tmp_path, files)
    result = list(batches(log, tokens=60, randomness=np.random.default_rng(1)))
    assert len(result) == batch_count(log, 60)
    times = np.concatenate([batch.next_times[batch.has_next] for batch in result])
    assert np.array_equal(np.sort(times), np.sort(whole.times[np.flatnonzero(whole.has_next) + 1]))


def test_the_order_of_parts_is_drawn(files: ExitStack, tmp_path: Path) -> None:
    log = in_parts(sequences(*["ab"] * 12), 12, ROOMY, tmp_path, files)
    orders = {
        tuple(batch.next_times[0, 0] for batch in batches(log, tokens=60, randomness=np.random.default_rng(seed)))
        for seed in range(3)
    }
    assert len(orders) == 3
