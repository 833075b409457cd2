"""A log in parts on disk against the same log in memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.batches import batch_count, batches
from model.data.contexts import CATEGORY_SHIFT
from model.data.disk_log import DiskLog, window_of_chunks
from model.data.event_log import active_sequences, latest_actions, parts, sampled_times
from model.data.events import EVENT_TYPES, Actions, concatenate
from model.data.sequences import Sequences, concatenate_sequences, frequent_items, sequences_of
from model.data.vocabulary import Vocabulary
from model.evaluation.gate import GateConfig
from model.fusion.item_statistics import CoVisits, item_statistics_of, tensors_of
from model.network.network import NetworkConfig
from model.rounds.drift import DriftMonitor
from model.rounds.fit_model import held_out
from model.rounds.initial_network import cold_start
from model.rounds.rehearsal import rehearsal
from model.rounds.training_round import train_round
from model.training.item_attributes import learn_item_attributes
from stream_app.history import files as history_file
from tests.unit.builders.basics import CPU
from tests.unit.builders.histories import HOUR, NOON, Reader, Topic, close_all
from tests.unit.builders.logs import ROOMY, in_parts
from tests.unit.builders.rounds import CONFIG, circle
from tests.unit.builders.sequences import random_users, sequences

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


def users_of(found: Sequences) -> Counter[tuple[tuple[int, int, int], ...]]:
    """The sequence of each user, in no order."""
    rows = list(zip(found.item_keys.tolist(), found.contexts.tolist(), found.times.tolist(), strict=True))
    return Counter(tuple(rows[low:high]) for low, high in pairwise(found.offsets.tolist()))


@pytest.fixture
def files() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


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
        found, expected = concatenate_sequences(list(parts(window.log))), sequences_of(whole)
        assert isinstance(window.log, DiskLog) == (len(events) > room)
        assert len(window.log) == len(whole) == len(events)
        assert users_of(found) == users_of(expected)
        if len(events) <= room:
            assert np.array_equal(found.offsets, expected.offsets)  # users in the same order, too
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


@pytest.mark.parametrize("cut", [None, 200_000])
def test_what_is_asked_of_all_parts_is_what_the_whole_says(files: ExitStack, tmp_path: Path, cut: int | None) -> None:
    whole = sequences(*random_users(3))
    log = in_parts(whole, 4, ROOMY, tmp_path, files)
    if cut is not None:
        middle = whole.newest(0.5)
        whole, log = whole.before(middle), log.before(middle)
    vocabulary = Vocabulary(list(LETTERS))
    assert len(log) == len(whole)
    assert log.span == whole.span
    assert log.newest(0.3) == whole.newest(0.3)
    assert np.array_equal(sampled_times(log), np.sort(whole.times))
    late = whole.newest(0.2)
    assert users_of(active_sequences(log, late)) == users_of(active_sequences(whole, late))
    assert users_of(concatenate_sequences(list(parts(log.before(late))))) == users_of(whole.before(late))
    assert users_of(latest_actions(log)) == users_of(whole)
    assert held_out(log, late, 10).item_keys.tolist() == held_out(whole, late, 10).item_keys.tolist()
    found, expected = (tensors_of(item_statistics_of(of, vocabulary)) for of in (log, whole))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5)  # type: ignore[arg-type]
    for name, counts in DriftMonitor(whole)._learned.items():
        assert np.array_equal(DriftMonitor(log)._learned[name], counts)


def test_batches_have_every_step_once_and_are_as_many_as_is_said(files: ExitStack, tmp_path: Path) -> None:
    whole = sequences(*random_users(5))
    log = in_parts(whole, 4, ROOMY, tmp_path, files)
    found = list(batches(log, tokens=60, randomness=np.random.default_rng(1)))
    assert len(found) == batch_count(log, 60)
    times = np.concatenate([batch.next_times[batch.has_next] for batch in found])
    assert np.array_equal(np.sort(times), np.sort(whole.times[np.flatnonzero(whole.has_next) + 1]))


def test_the_order_of_parts_is_drawn(files: ExitStack, tmp_path: Path) -> None:
    log = in_parts(sequences(*["ab"] * 12), 12, ROOMY, tmp_path, files)
    orders = {
        tuple(batch.next_times[0, 0] for batch in batches(log, tokens=60, randomness=np.random.default_rng(seed)))
        for seed in range(3)
    }
    assert len(orders) == 3


def test_where_there_is_no_room_users_are_drawn_and_stay_whole(files: ExitStack, tmp_path: Path) -> None:
    whole = sequences(*["abcd"] * 100)
    log = in_parts(whole, 5, 200, tmp_path, files)
    found = active_sequences(log, 0)
    assert 150 <= len(found) <= 200
    assert not users_of(found) - users_of(whole)
    some = latest_actions(log)
    assert len(some) == pytest.approx(200, abs=2)
    assert np.array_equal(np.sort(some.times), np.sort(whole.times)[-len(some) :])
    assert len(rehearsal(log, 0, 1000, np.random.default_rng(1))) <= 200


def test_sides_are_those_given_last_in_any_part(files: ExitStack, tmp_path: Path) -> None:
    whole = sequences_of(circle())
    categories = (np.arange(len(whole)) % 7 + 1).astype(np.uint32)  # come and go
    contexts = whole.contexts | categories << np.uint32(CATEGORY_SHIFT)
    whole = Sequences(whole.item_keys, contexts, whole.times, whole.offsets)
    vocabulary = Vocabulary([f"i{n}" for n in range(8)])
    one, other = (cold_start(NetworkConfig(items=8, width=8, hidden=8), 0) for _ in range(2))
    learn_item_attributes(one, vocabulary, whole)
    learn_item_attributes(other, vocabulary, in_parts(whole, 6, ROOMY, tmp_path, files))
    assert one.item_attributes.any()
    assert bool((one.item_attributes == other.item_attributes).all())


def test_the_lightest_pairs_are_dropped_and_still_count_in_the_shares() -> None:
    pairs = CoVisits(3, most=1)
    for items, weight in (([0, 1], 4.0), ([0, 2], 1.0), ([0, 1], 4.0)):
        pairs.add(np.array(items), np.array([0, 2]), np.full(2, weight))
    followers, _ = pairs.neighbours()
    assert followers.items.tolist() == [1]
    assert followers.shares.tolist() == pytest.approx([8 / 9])


def test_a_round_on_a_log_in_parts_learns_as_well(files: ExitStack, tmp_path: Path) -> None:
    actions = circle(users=80, items=60)
    window = window_of_chunks([actions], rows=len(actions), room=800, folder=tmp_path, files=files)
    assert window.log.part_count > 1
    config = replace(CONFIG, gate=GateConfig(margin=-1.0))  # promoted, though the rules are right, too
    found = train_round(window, None, config, device=CPU, clock=time.thread_time)
    assert found.challenger.network.recall[20] > 0.9
    assert (found.report.window.events, found.report.window.users, found.report.window.items) == (1600, 80, 60)
    assert found.report.window.held_out_from == window.log.newest(CONFIG.holdout / 2)  # there is room for half the log
    assert found.trained_until == window.log.span[1]
