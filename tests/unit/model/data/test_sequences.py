"""Sequences against plain loops over the log."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.data.contexts import FIRST_GAP, contexts_of, gap_bucket_of, unpack_contexts
from model.data.events import (
    EVENT_TYPES,
    MOST_LINES,
    NO_TIME,
    PURCHASE_HORIZON,
    PURCHASE_WITHIN_MS,
    SESSION_GAP_MS,
    Actions,
)
from model.data.sequences import concatenate_sequences, frequent_items, sequences_of
from model.data.user_clocks import user_clocks
from tests.unit.builders.logs import Basket, Row, baskets_of, log_of, one_user
from tests.unit.builders.sequences import users_of

ROWS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(EVENT_TYPES),
        st.sampled_from("ijkl"),
        st.integers(0, 10 * SESSION_GAP_MS),
        st.sampled_from([None, "s1", "s2"]),
    ),
    max_size=40,
)


def expected_fields(actions: Actions) -> list[tuple[int, int]]:
    """Gap bucket and session boundary of each action, one action at a time."""
    times: dict[str, int] = {}
    sessions: dict[str, int] = {}
    found = []
    for user, time, session in zip(actions.users, actions.times.tolist(), actions.sessions.tolist(), strict=True):
        if user not in times:
            found.append((FIRST_GAP, 1))
        else:
            gap = max(time, times[user]) - times[user]
            known = sessions.get(user, 0)
            opens = session != known if session and known else gap > SESSION_GAP_MS
            found.append((gap_bucket_of(gap), int(opens)))
        times[user] = max(time, times.get(user, time))
        if session:
            sessions[user] = session
    return found


def fields(contexts: NDArray[np.uint32]) -> list[tuple[int, int]]:
    unpacked = unpack_contexts(contexts)
    return list(zip(unpacked.gaps.tolist(), unpacked.boundaries.tolist(), strict=True))


@given(ROWS, st.integers(0, 40))
def test_contexts_are_those_of_one_action_at_a_time_in_any_cut(rows: list[Row], middle: int) -> None:
    actions = log_of(rows)
    found: list[tuple[int, int]] = []
    times: dict[str, int] = defaultdict(lambda: int(NO_TIME))
    sessions: dict[str, int] = defaultdict(int)
    for part in (rows[:middle], rows[middle:]):
        some = log_of(part)
        users = np.array([ord(user) for user in some.users], np.int64)
        known = np.array([times[user] for user in some.users], np.int64)
        clocks, _ = user_clocks(users, some.times, known, np.ones(len(users), np.bool_))
        given = np.array([sessions[user] for user in some.users], np.uint64)
        found += fields(contexts_of(replace(some, times=clocks), users, known, given))
        for user, time, session in zip(some.users, clocks.tolist(), some.sessions.tolist(), strict=True):
            times[user] = time
            sessions[user] = session or sessions[user]
    assert found == expected_fields(actions)


@given(ROWS)
def test_sequences_hold_every_user_in_log_order(rows: list[Row]) -> None:
    actions = log_of(rows)
    sequences = sequences_of(actions)
    by_user: dict[str, list[int]] = defaultdict(list)
    for index, user in enumerate(actions.users):
        by_user[user].append(index)
    order = [index for indices in by_user.values() for index in indices]
    assert sequences.item_keys.tolist() == [int(actions.item_keys[index]) for index in order]
    assert sequences.types.tolist() == [int(actions.types[index]) for index in order]
    assert sequences.offsets.tolist() == [
        0,
        *np.cumsum([len(indices) for indices in by_user.values()]).tolist(),
    ]
    wanted = expected_fields(actions)
    assert fields(sequences.contexts) == [wanted[index] for index in order]
    running = [
        max(rows[earlier][3] for earlier in indices[: rank + 1])
        for indices in by_user.values()
        for rank in range(len(indices))
    ]
    assert sequences.times.tolist() == running


@given(ROWS, st.integers(0, 10 * SESSION_GAP_MS))
def test_before_a_cut_lie_the_beginnings(rows: list[Row], cut: int) -> None:
    sequences = sequences_of(log_of(rows))
    early = sequences.before(cut)
    assert early.item_keys.tolist() == sequences.item_keys[sequences.times < cut].tolist()
    assert len(early.offsets) - 1 == sum(first_time(rows, user) < cut for user in {row[0] for row in rows})
    assert (np.diff(early.offsets) > 0).all()


@given(ROWS, st.none() | st.integers(0, 10 * SESSION_GAP_MS))
def test_targets_are_actions_on_items_after_another_of_the_user(rows: list[Row], cut: int | None) -> None:
    sequences = sequences_of(log_of(rows))
    next_actions = [
        index
        for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
        for index in range(start + 1, stop)
        if cut is None or sequences.times[index] >= cut
    ]
    assert sequences.next_actions_from(cut).tolist() == next_actions
    targets = [index for index in next_actions if EVENT_TYPES[sequences.types[index]] not in ("search", "remove")]
    assert sequences.targets_from(cut).tolist() == targets


def first_time(rows: list[Row], user: str) -> int:
    return next(row[3] for row in rows if row[0] == user)


@given(ROWS)
def test_a_purchase_is_soon_within_the_horizon(rows: list[Row]) -> None:
    sequences = sequences_of(log_of(rows))
    kinds = [EVENT_TYPES[code] for code in sequences.types]
    times = sequences.times.tolist()
    expected = [
        any(
            kinds[later] == "purchase" and times[later] <= times[index] + PURCHASE_WITHIN_MS
            for later in range(index + 1, min(stop, index + 1 + PURCHASE_HORIZON))
        )
        for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
        for index in range(start, stop)
    ]
    assert sequences.purchase_soon.tolist() == expected


BASKETS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["purchase", "view"]),
        st.text("ijkl", min_size=1, max_size=3) | st.just("i" * (MOST_LINES + 2)),
        st.integers(0, 40).map(lambda minutes: 60_000 * minutes),
    ),
    max_size=40,
)


def events_of(baskets: list[Basket]) -> list[tuple[int, int, int, list[Basket]]]:
    """Of each event where its actions begin and end, where those of its user end, and the user's later events."""
    by_user: dict[str, list[Basket]] = defaultdict(list)
    for basket in baskets:
        by_user[basket[0]].append(basket)
    found, begin = [], 0
    for events in by_user.values():
        stop = begin + sum(min(len(event[2]), MOST_LINES) for event in events)
        for number, event in enumerate(events):
            end = begin + min(len(event[2]), MOST_LINES)
            found.append((begin, end, stop, events[number + 1 :]))
            begin = end
    return found


@given(BASKETS)
def test_an_event_is_a_target_by_its_first_action_and_predicts_from_its_last(baskets: list[Basket]) -> None:
    sequences = sequences_of(baskets_of(baskets))
    events = events_of(baskets)
    assert np.flatnonzero(~sequences.continues).tolist() == [begin for begin, *_ in events]
    assert np.flatnonzero(sequences.ends_event).tolist() == [end - 1 for _, end, *_ in events]
    assert np.flatnonzero(sequences.has_next).tolist() == [end - 1 for _, end, _, later in events if later]
    assert sequences.next_actions_from().tolist() == [end for _, end, _, later in events if later]
    assert sequences.targets_from().tolist() == sequences.next_actions_from().tolist()


@given(BASKETS)
def test_a_purchase_is_soon_within_so_many_events_whatever_their_lines(baskets: list[Basket]) -> None:
    sequences = sequences_of(baskets_of(baskets))
    expected = np.zeros(len(sequences), np.bool_)
    for _, end, _, later in events_of(baskets):
        clock = now = int(sequences.times[end - 1])
        for _, kind, _, time in later[:PURCHASE_HORIZON]:
            clock = max(clock, time)
            expected[end - 1] |= kind == "purchase" and clock <= now + PURCHASE_WITHIN_MS
    assert sequences.purchase_soon.tolist() == expected.tolist()


@given(BASKETS, st.integers(0, 41), st.data())
def test_whatever_is_taken_of_sequences_no_user_begins_inside_an_event(
    baskets: list[Basket], minute: int, data: st.DataObject
) -> None:
    whole = sequences_of(baskets_of(baskets))
    users = data.draw(st.sets(st.integers(0, len(whole.offsets) - 2))) if len(whole.offsets) > 1 else set()
    cut = 60_000 * minute
    some = whole.of_users(np.array(sorted(users), np.int64))
    assert users_of(concatenate_sequences([some, whole])) == users_of(some) + users_of(whole)
    assert len(whole.before(cut)) + len(whole.since(cut)) == len(whole)
    last = whole.where(np.repeat(whole.offsets[1:], np.diff(whole.offsets)) - np.arange(len(whole)) <= 2)
    for part in (some, whole.before(cut), whole.since(cut), last):
        assert not part.continues[part.offsets[:-1]].any()
    assert whole.before(cut).continues.tolist() == whole.continues[whole.times < cut].tolist()


@pytest.mark.parametrize(("after", "soon"), [(PURCHASE_WITHIN_MS, True), (PURCHASE_WITHIN_MS + 1, False)])
def test_a_purchase_is_soon_within_half_an_hour(after: int, soon: bool) -> None:
    sequences = sequences_of(log_of([("u", "view", "i", 0, None), ("u", "purchase", "i", after, None)]))
    assert sequences.purchase_soon.tolist() == [soon, False]


def test_unknown_times_are_before_all_others_and_in_no_span() -> None:
    sequences = sequences_of(
        log_of([("u", "view", "i", NO_TIME, None), ("u", "purchase", "i", 9, None), ("v", "view", "i", 5, None)])
    )
    assert sequences.span == (5, 9)
    assert sequences.purchase_soon.tolist() == [False, False, False]
    assert sequences_of(log_of([("u", "view", "i", NO_TIME, None)])).span == (0, 0)


@given(ROWS)
def test_what_is_known_of_purchases_does_not_change_when_the_log_goes_on(rows: list[Row]) -> None:
    now = 10 * SESSION_GAP_MS
    early = [("a", "view", "i", 0, None)] * (len(rows) + 3)  # so that the log is not short
    latest = [("d", "view", "i", time, None) for time in (now - PURCHASE_WITHIN_MS, now - PURCHASE_WITHIN_MS + 1, now)]
    rows = [*early, *rows, *latest]
    known_of = sequences_of(log_of(rows))
    whole = sequences_of(log_of([*rows, *((user, "purchase", "i", now + 1, None) for user in "abcd")]))
    known = known_of.purchase_known
    assert known.tolist() == (known_of.times <= now - PURCHASE_WITHIN_MS).tolist()
    again = whole.purchase_soon[whole.times <= now]
    assert known_of.purchase_soon[known].tolist() == again[known].tolist()


def test_of_a_log_shorter_than_the_horizon_the_older_half_counts_as_known() -> None:
    sequences = sequences_of(log_of(one_user(["view", "view", "purchase", "view"])))
    assert sequences.purchase_known.tolist() == [True, True, False, False]
    assert sequences_of(log_of([])).purchase_known.tolist() == []


def test_the_newest_share() -> None:
    sequences = sequences_of(log_of(one_user(["view"] * 100)))
    cut = sequences.newest(0.1)
    assert (sequences.times >= cut).sum() in (10, 11)


def test_frequent_items_in_order_of_appearance() -> None:
    rows: list[Row] = [("u", "view", item, 0, None) for item in "abacbbd"]
    rows.append(("u", "search", "a", 0, None))
    assert frequent_items(log_of(rows)) == ["a", "b", "c", "d"]
    assert frequent_items(log_of(rows), least=2) == ["a", "b"]
    assert frequent_items(log_of(rows), most=1) == ["b"]


@pytest.mark.parametrize("cut", [-1, 10**9])
def test_a_cut_outside_of_the_log(cut: int) -> None:
    sequences = sequences_of(log_of(one_user(["view"] * 4)))
    assert len(sequences.before(cut)) == (0 if cut < 0 else 4)
