"""Slots of users: dictionaries and deques are the oracle."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.data.events import NO_TIME, Event, actions_of
from model.state.sections import JOINS
from model.state.user_record import FIRST_VERSION, pack
from model.state.user_states import EVENT_ID_WINDOW, UserStates
from tests.unit.builders.basics import HIDDEN, LENGTH, Shelf, make_states

Sent: TypeAlias = list[tuple[str, int]]  # (user, event id; 0: none given) in log order
SENT = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=30), max_size=5)


def slots_of(states: UserStates, partition: int, users: Sequence[str]) -> NDArray[np.int64]:
    return states.slots_of([partition] * len(users), users)


def remember(states: UserStates, sent: Sent, times: Sequence[int] | None = None, session: str | None = None) -> None:
    """Applies events as the state engine does, with one action each."""
    events = [Event(user_id=user, type="view", item_id=f"{n}", session_id=session) for n, (user, _) in enumerate(sent)]
    actions = actions_of(events, times or [0] * len(sent))
    actions.event_ids[:] = [event_id for _, event_id in sent]
    slots = slots_of(states, 0, actions.users)
    states.histories.append(slots, actions.item_keys, 8 * np.arange(len(sent), dtype=np.uint32) + actions.types)
    states.remember(slots, actions)


def filled(users: str = "abc", device: torch.device | None = None) -> UserStates:
    states = make_states(device or torch.device("cpu"))
    for n in range(LENGTH + 2):
        remember(states, [(user, 10 * n + 1) for user in users[n % 2 :]], times=[n] * len(users[n % 2 :]), session="s")
    slots = slots_of(states, 0, list(users))
    states.offsets[slots] = np.arange(len(users)) + 100
    states.weights_id[slots] = 2**64 - 5
    states.hidden[torch.from_numpy(slots)] = torch.randn(len(users), HIDDEN, device=states.device).half()
    return states


def records_of(states: UserStates, partition: int = 0, users: str = "abc") -> dict[str, bytes]:
    return dict(zip(users, pack(states.snapshot(slots_of(states, partition, list(users)))), strict=True))


def shelf(records: dict[str, bytes], partition: int = 0) -> Shelf:
    return Shelf({(partition, user): record for user, record in records.items()})


@given(st.lists(st.tuples(st.integers(0, 2), st.text(max_size=3)), max_size=40))
def test_every_user_of_a_partition_keeps_a_slot_of_its_own(asked: list[tuple[int, str]]) -> None:
    states, oracle = make_states(), dict[tuple[int, str], int]()
    half = len(asked) // 2
    for several in (asked[:half], asked[half:]):
        found = states.slots_of([partition for partition, _ in several], [user for _, user in several])
        for owner, slot in zip(several, found.tolist(), strict=True):
            assert oracle.setdefault(owner, slot) == slot
    assert len(set(oracle.values())) == len(oracle) == len(states)
    assert all(states.slot(partition, user) == slot for (partition, user), slot in oracle.items())
    assert states.slot(3, "") is None
    assert states.capacity >= len(states)


@given(SENT)
def test_an_event_id_counts_once_within_its_users_window(batches: list[Sent]) -> None:
    states, oracle = make_states(), {user: deque[int](maxlen=EVENT_ID_WINDOW) for user in "abc"}
    for batch in batches:
        slots = slots_of(states, 0, [user for user, _ in batch])
        found = states.duplicates(
            slots, np.array([event_id for _, event_id in batch], np.uint64), np.zeros(len(batch), np.uint16)
        ).tolist()
        for (user, event_id), repeated in zip(batch, found, strict=True):
            assert repeated == (event_id != 0 and event_id in oracle[user])
            if event_id and not repeated:
                oracle[user].append(event_id)
        remember(states, [sent for sent, repeated in zip(batch, found, strict=True) if not repeated])
    for user, window in oracle.items():
        slot = slots_of(states, 0, [user])[0]
        kept = states.event_ids[slot].tolist()
        assert kept == [0] * (EVENT_ID_WINDOW - len(window)) + list(window)


BASKETS = st.lists(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(1, 4)), max_size=12), max_size=5
)


@given(BASKETS)
def test_an_event_of_several_actions_is_repeated_as_a_whole(batches: list[list[tuple[str, int, int]]]) -> None:
    states, oracle = make_states(), {user: deque[int](maxlen=EVENT_ID_WINDOW) for user in "ab"}
    for batch in batches:
        flat = [(user, event_id, line) for user, event_id, size in batch for line in range(size)]
        actions = actions_of(
            [Event(user_id=user, type="view", item_id="i", event_id=str(event_id)) for user, event_id, _ in flat],
            [0] * len(flat),
            [line for _, _, line in flat],
        )
        actions.event_ids[:] = [event_id for _, event_id, _ in flat]
        slots = slots_of(states, 0, actions.users)
        found = states.duplicates(slots, actions.event_ids, actions.lines)
        expected = []
        for user, event_id, size in batch:
            repeated = event_id != 0 and event_id in oracle[user]
            expected += [repeated] * size
            if event_id and not repeated:
                oracle[user].append(event_id)
        assert found.tolist() == expected
        new = np.flatnonzero(~found)
        states.remember(slots[new], actions.take(new))
    for user, window in oracle.items():
        kept = states.event_ids[slots_of(states, 0, [user])[0]].tolist()
        assert kept == [0] * (EVENT_ID_WINDOW - len(window)) + list(window)


def test_a_repeat_takes_no_place_in_the_window() -> None:
    ids = [*range(1, EVENT_ID_WINDOW + 1), EVENT_ID_WINDOW, 1, 99, 1]
    slots = slots_of(make_states(), 0, ["a"] * len(ids))
    found = make_states().duplicates(slots, np.array(ids, np.uint64), np.zeros(len(ids), np.uint16)).tolist()
    assert found == [False] * EVENT_ID_WINDOW + [True, True, False, False]


def test_the_newest_time_and_the_last_session_given_are_kept() -> None:
    states = make_states()
    remember(states, [("a", 0), ("b", 0), ("a", 0)], times=[50, 60, 40], session="s")
    first = states.sessions.copy()
    remember(states, [("a", 0)], times=[70])
    slot = states.slot(0, "a")
    assert states.last_times[slot] == 70
    assert states.last_times[states.slot(0, "b")] == 60
    assert states.sessions[slot] == first[slot] != 0


def test_records_come_back_byte_for_byte_in_other_states(device: torch.device) -> None:
    before = filled("abcdefgh", device)
    records = records_of(before, users="abcdefgh")
    after = make_states(device, stored=shelf(records, 5))
    assert records_of(after, 5, "hgfedcba") == records
    assert after.returned == len(records)
    assert len(after) == len(records)


def test_sections_stay_with_their_users_known_or_not() -> None:
    before = filled()
    slots = dict(zip("abc", slots_of(before, 0, list("abc")).tolist(), strict=True))
    plain = records_of(before)
    before.set_section(slots["b"], JOINS, b"one")
    before.set_section(slots["b"], 999, b"of a later version")
    before.set_section(slots["b"], JOINS, b"two")
    before.set_section(slots["c"], JOINS, b"for a while")
    before.set_section(slots["c"], JOINS, None)
    records = records_of(before)
    assert {user for user in records if records[user] != plain[user]} == {"b"}
    after = make_states(slots=1, most=1, stored=shelf(records))
    for user in "bacb":  # who leaves memory takes the sections along, and leaves none to the slot's next user
        slot = int(slots_of(after, 0, [user])[0])
        wanted = (b"two", b"of a later version") if user == "b" else (None, None)
        assert (after.section(slot, JOINS), after.section(slot, 999)) == wanted
        after.settled = after.batch + 1
    assert records_of(after, users="b")["b"] == records["b"]


def test_the_version_before_is_written_without_sections() -> None:
    states = filled()
    plain = records_of(states, users="b")["b"]
    states.set_section(int(slots_of(states, 0, ["b"])[0]), JOINS, b"lost")
    states.version = FIRST_VERSION
    record = records_of(states, users="b")["b"]
    assert record == bytes([FIRST_VERSION]) + plain[1:]
    after = make_states(stored=shelf({"b": record}))
    assert records_of(after, users="b")["b"] == plain  # a user without any has as many bytes in each version


@given(SENT, st.integers(0, 2**32))
def test_whatever_happened_to_users_comes_back(batches: list[Sent], seed: int) -> None:
    before = make_states()
    before.hidden.copy_(torch.from_numpy(np.random.default_rng(seed).standard_normal(before.hidden.shape)))
    for n, batch in enumerate(batches):
        remember(before, batch, times=[n - 2] * len(batch), session=str(n) if n % 2 else None)
    records = records_of(before)
    assert records_of(make_states(stored=shelf(records))) == records


def test_a_user_in_memory_is_newer_than_the_stored_one() -> None:
    stored = Shelf()
    states = make_states(stored=stored)
    remember(states, [("a", 1)], times=[7])
    stored.update(shelf(records_of(states, users="a")))
    remember(states, [("a", 2)], times=[77])
    assert records_of(states, users="a") != {"a": stored[0, "a"]}
    assert states.returned == 0


def test_records_of_another_epoch_are_left_out() -> None:
    records = records_of(filled())
    states = make_states(epoch=2, stored=shelf(records))
    assert everything_of(states, int(slots_of(states, 0, ["a"])[0])) == everything_of(make_states(), 0)
    assert states.returned == 0


def test_records_of_another_epoch_are_left_out_among_others() -> None:
    before = filled()
    own, before.epoch = records_of(before, users="b"), 2
    states = make_states(stored=shelf(records_of(before) | own))
    a, _, c = slots_of(states, 0, ["a", "b", "c"]).tolist()
    assert states.returned == 1
    assert records_of(states, users="b") == own
    assert everything_of(states, a) == everything_of(states, c) == everything_of(make_states(), 0)


def test_the_user_of_a_damaged_record_begins_anew_and_the_others_come_back() -> None:
    record = bytearray(records_of(filled())["b"])
    record[-1] ^= 1
    mixed = records_of(filled()) | {"b": bytes(record)}
    stored = shelf(mixed, 3)
    states = make_states(stored=stored)
    slots = slots_of(states, 3, ["a", "b", "c"])
    assert [(one.partition, one.user) for one in states.damaged] == [(3, "b")]
    assert "checksum" in states.damaged[0].fault
    assert states.returned == 2
    assert everything_of(states, slots[1]) == everything_of(make_states(), 0)
    assert {user: record for user, record in records_of(states, 3).items() if user != "b"} == {
        user: record for user, record in mixed.items() if user != "b"
    }
    stored.update(shelf(records_of(states, 3), 3))  # the record after the user's next event replaces the damaged one
    states = make_states(stored=stored)
    slots_of(states, 3, ["a", "b", "c"])
    assert (states.returned, states.damaged) == (3, [])


@pytest.mark.parametrize("hidden", [HIDDEN - 5, HIDDEN + 5])
def test_a_sequence_outlives_the_size_of_the_hidden_state(hidden: int, device: torch.device) -> None:
    before = filled("abc", device)
    records = records_of(before)
    one_of_another_epoch = records_of(filled(), users="b")["b"]
    after = UserStates(hidden=hidden, length=LENGTH, epoch=1, device=device, stored=shelf(records))
    slots, old = slots_of(after, 0, ["a", "b", "c"]), slots_of(before, 0, ["a", "b", "c"])
    assert (after.returned, after.damaged) == (3, [])
    for name in ("offsets", "last_times", "sessions", "event_ids"):
        np.testing.assert_array_equal(getattr(after, name)[slots], getattr(before, name)[old])
    for wanted, restored in zip(before.histories.gather(old), after.histories.gather(slots), strict=True):
        np.testing.assert_array_equal(restored, wanted)
    assert not after.weights_id[slots].any()  # of no version: to be encoded again
    assert not after.hidden[torch.from_numpy(slots)].any()
    later = UserStates(hidden=hidden, length=LENGTH, epoch=2, device=device, stored=shelf({"b": one_of_another_epoch}))
    slots_of(later, 0, ["b"])
    assert (later.returned, later.damaged) == (0, [])


@pytest.mark.parametrize("length", [1, LENGTH - 1, LENGTH, LENGTH + 3])
def test_rings_of_another_length_keep_the_newest_actions(length: int) -> None:
    before = filled()
    wanted = before.histories.gather(slots_of(before, 0, ["b"]))[0][0]
    after = make_states(length=length, stored=shelf(records_of(before)))
    item_keys, _, sizes = after.histories.gather(slots_of(after, 0, ["b"]))
    assert item_keys[0][: sizes[0]].tolist() == wanted[-length:].tolist()
    assert after.histories.counts[after.slot(0, "b")] == LENGTH + 2


def everything_of(states: UserStates, slot: int) -> list[Any]:
    arrays = (states.offsets, states.last_times, states.sessions, states.event_ids, states.weights_id)
    held = [array[slot].tolist() for array in arrays]
    return [*held, states.hidden[slot].tolist(), *(part.tolist() for part in states.histories.gather(np.array([slot])))]


def test_users_who_were_forgotten_leave_nothing_to_the_next_user_of_a_slot(device: torch.device) -> None:
    states = filled("ab", device)
    capacity, empty = states.capacity, everything_of(make_states(device), 0)
    assert sorted(states.clear().tolist()) == [0, 1]
    assert states.slot(0, "a") is None
    assert len(states) == 0
    fresh = slots_of(states, 2, [f"new {n}" for n in range(capacity)])
    assert states.capacity == capacity  # the slots were free again
    for slot in fresh:
        assert everything_of(states, slot) == empty
    assert empty[:2] == [-1, NO_TIME]


def test_growing_keeps_users_and_gives_empty_slots(device: torch.device) -> None:
    states = filled("ab", device)
    records, before, bytes_before = records_of(states, users="ab"), states.capacity, states.nbytes
    slots_of(states, 0, [f"new {n}" for n in range(5 * before)])
    assert records_of(states, users="ab") == records
    assert everything_of(states, states.capacity - 1)[:2] == [-1, NO_TIME]
    assert states.nbytes > bytes_before


def test_slots_taken_in_inference_mode_can_be_cleared_outside_of_it() -> None:
    # The engine steps in inference mode; a rebalance happens in the event loop.
    states = make_states(slots=1)
    with torch.inference_mode():
        slots_of(states, 0, ["a", "b", "c"])
    states.clear()
    assert len(states) == 0


class Durable:
    """What is stored of users while batches are on their way: their records are there when they settle."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.pending: dict[int, dict[tuple[int, str], bytes]] = {}

    def settle(self, before: int) -> None:
        for batch in sorted(number for number in self.pending if number < before):
            self.shelf.update(self.pending.pop(batch))

    def on_their_way(self) -> set[tuple[int, str]]:
        return {owner for changes in self.pending.values() for owner in changes}


OWNERS = [(partition, f"u{n}") for partition in (0, 1) for n in range(20)]  # ten times as many as there are slots
TOUCHED = st.lists(st.sampled_from(OWNERS), min_size=1, max_size=6)
NOBODY = [-1, NO_TIME, 0, 0, 0, [0] * EVENT_ID_WINDOW, 0.0, []]


@given(st.lists(st.tuples(TOUCHED, st.integers(0, 4)), min_size=10, max_size=40))
def test_users_beyond_memory_are_as_if_all_fitted(batches: list[tuple[list[tuple[int, str]], int]]) -> None:
    durable, oracle, known = Durable(), dict[tuple[int, str], list[Any]](), dict[tuple[int, str], int]()
    states = make_states(slots=4, most=4, stored=durable.shelf)
    for number, (owners, behind) in enumerate(batches, start=1):
        capacity, staying = states.capacity, durable.on_their_way()
        slots = states.slots_of([partition for partition, _ in owners], [user for _, user in owners])
        assert states.batch == number
        assert {owner: states.slot(*owner) for owner in staying} == {owner: known[owner] for owner in staying}
        assert states.returned == len((set(owners) - known.keys()) & oracle.keys())
        assert states.capacity <= max(capacity, len(staying | set(owners)))
        gone = {slot for owner, slot in known.items() if states.slot(*owner) != slot}
        assert set(states.evicted.tolist()) >= gone
        for owner, slot in zip(owners, slots.tolist(), strict=True):
            assert states.slot(*owner) == slot
            assert state_of(states, slot) == oracle.get(owner, NOBODY)
        durable.pending[number] = change(states, dict.fromkeys(owners), number)
        oracle |= {owner: state_of(states, slot) for owner, slot in zip(owners, slots.tolist(), strict=True)}
        states.settled = max(number + 1 - behind, states.settled)
        durable.settle(states.settled)
        known = {owner: slot for owner in OWNERS if (slot := states.slot(*owner)) is not None}
        assert len(known) == len(states)


def test_no_more_users_than_allowed_when_they_may_leave() -> None:
    states = make_states(slots=1024, most=4)
    for n in range(40):
        slots_of(states, 0, [f"u{n}", f"u{n // 2}"])
        states.settled = states.batch
    assert len(states) == states.capacity == 4


def change(states: UserStates, owners: dict[tuple[int, str], None], number: int) -> dict[tuple[int, str], bytes]:
    """Gives users values of their own in every array; their records."""
    slots = np.array([states.slot(*owner) for owner in owners], np.int64)
    marks = np.array([100 * number + OWNERS.index(owner) for owner in owners])
    states.offsets[slots] = marks
    states.last_times[slots] = marks + 1
    states.sessions[slots] = marks + 2
    states.weights_id[slots] = marks + 3
    states.event_ids[slots] = marks[:, None] + np.arange(EVENT_ID_WINDOW)
    states.hidden[torch.from_numpy(slots)] = torch.from_numpy(marks[:, None] / 64).half()
    states.histories.append(slots, marks.astype(np.uint64), marks.astype(np.uint32))
    return dict(zip(owners, pack(states.snapshot(slots)), strict=True))


def state_of(states: UserStates, slot: int) -> list[Any]:
    """All that a slot holds, as Python values."""
    arrays = (states.offsets, states.last_times, states.sessions, states.weights_id)
    item_keys, contexts, sizes = (part[0] for part in states.histories.gather(np.array([slot])))
    assert (states.hidden[slot] == states.hidden[slot, 0]).all()
    return [
        *(int(array[slot]) for array in arrays),
        int(states.histories.counts[slot]),
        states.event_ids[slot].tolist(),
        float(states.hidden[slot, 0]),
        list(zip(item_keys[:sizes].tolist(), contexts[:sizes].tolist(), strict=True)),
    ]
