"""Counts of what users like: a plain implementation is the oracle, however batches and restarts cut the log."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.events import CATEGORY_BUCKETS, EVENT_TYPES, Event, actions_of, name_keys, text_buckets
from model.profile.preferences import PreferenceCounters
from model.profile.price_bands import BandTable, PriceBands
from model.state.join_notes import Source
from model.state.sections import JOINS, PREFERENCES
from model.state.user_joins import give_sequence, take_sequence
from model.state.user_record import pack, unpack
from model.state.user_states import UserStates
from tests.faults.liked import Liked, differs
from tests.unit.builders.basics import HIDDEN, Logged, Shelf, make_states
from tests.unit.builders.engines import Engines

Entries = list[list[tuple[int, list[float]]]]
NAMES = [None, *(f"name {n}" for n in range(14))]
ACTIONS = st.tuples(
    st.sampled_from("abc"), st.sampled_from(EVENT_TYPES), st.sampled_from(NAMES), st.sampled_from(NAMES[:5])
)
EVENTS = st.tuples(st.lists(ACTIONS, min_size=1, max_size=3), st.integers(0, 30))  # lines, and an event id
BATCHES = st.lists(st.tuples(st.lists(EVENTS, max_size=20), st.booleans()), max_size=6)


def engines_with(stored: Shelf) -> Engines:
    engines = Engines(make_states(stored=stored), rules_share=0.0)
    engines.state_engine.count_preferences()
    return engines


def counters_of(states: UserStates) -> PreferenceCounters:
    (counters,) = states.columns
    assert isinstance(counters, PreferenceCounters)
    return counters


def entries_of(counts_keys: np.ndarray, weights: np.ndarray) -> Entries:
    return [
        [(int(key), row.tolist()) for key, row in zip(keys, of_field, strict=True) if key]
        for keys, of_field in zip(counts_keys, weights, strict=True)
    ]


def kept(states: UserStates, user: str) -> Entries:
    slot = states.slots_of([0], [user])[0]
    counts = counters_of(states).counts
    return entries_of(counts.keys[slot], counts.weights[slot])


def stored(states: UserStates, users: str = "abc") -> Shelf:
    records = pack(states.snapshot(states.slots_of([0] * len(users), list(users))))
    return Shelf({(0, user): record for user, record in zip(users, records, strict=True)})


@settings(deadline=None, max_examples=60)
@given(BATCHES)
def test_counts_are_those_of_a_plain_implementation_across_restarts(batches: list[Any]) -> None:
    engines, oracle = engines_with(Shelf()), {user: Liked() for user in "abc"}
    seen = {user: list[int]() for user in "abc"}
    offset = 0
    for events, restarts in batches:
        batch, wanted = [], []
        for lines, event_id in events:
            user = lines[0][0]
            repeated = bool(event_id) and event_id in seen[user][-16:]
            seen[user] += [] if repeated or not event_id else [event_id]
            for line, (_, kind, category, brand) in enumerate(lines):
                event = Event(
                    user_id=user,
                    type=kind,
                    item_id="i",
                    query="q",
                    event_id=f"{event_id}" if event_id else None,
                    category=category,
                    brand=brand,
                )
                batch.append(Logged(event, 1000, offset, 0, line))
                if not repeated:
                    oracle[user].count(EVENT_TYPES.index(kind), (category, brand))
            wanted.append([[key for key, _ in row] for row in oracle[user].as_stored()])
            offset += 1
        if batch:
            liked = engines.step(batch).liked
            assert liked is not None
            for event_number, expected in enumerate(wanted):
                found = entries_of(liked.after.keys[event_number], liked.after.weights[event_number])
                assert [[key for key, _ in row] for row in found] == expected
        if restarts:
            shelf = stored(engines.states)
            engines = engines_with(shelf)
            assert stored(engines.states) == shelf
        for user, liked_by in oracle.items():
            assert differs(kept(engines.states, user), liked_by) is None


def acts(user: str, names: str, *, first: int = 0, kind: str = "view") -> list[Logged]:
    """Actions on one category after the other, each with the brand of its name."""
    return [
        Logged(Event(user, kind, f"i{name}", category=f"c {name}", brand=f"b {name}"), 1000, first + n, 0)
        for n, name in enumerate(names)
    ]


def keys_of_field(entries: Entries, field: int = 0) -> list[int]:
    return [key for key, _ in entries[field]]


def buckets_of_names(names: str) -> list[int]:
    return [int(bucket) for bucket in text_buckets([f"c {name}" for name in names], CATEGORY_BUCKETS)]


def test_without_counts_nothing_is_kept_or_written() -> None:
    with_counts, without = engines_with(Shelf()), Engines(make_states(), rules_share=0.0)
    assert without.step(acts("a", "xyz")).liked is None
    with_counts.step([Logged(Event("a", "search", query=""), 1000, 0, 0), Logged(Event("b", "view", "i"), 1000, 1, 0)])
    for record in stored(with_counts.states, "ab").values():
        assert unpack([record], epoch=1, hidden=HIDDEN, ids=16).sections == [b""]


def test_what_a_worker_without_counts_did_not_count_is_counted_from_the_last_actions() -> None:
    engines = engines_with(Shelf())
    engines.step(acts("a", "xyz"))
    before = Engines(make_states(stored=stored(engines.states, "a")), rules_share=0.0)
    before.step(acts("a", "wwx", first=3))
    shelf = stored(before.states, "a")
    entries = kept(engines_with(shelf).states, "a")
    wanted = Liked()
    for name in "xyzwwx":
        wanted.count(3, (f"c {name}", f"b {name}"))
    for row, others in zip(entries, wanted.as_stored(), strict=True):
        assert [sum(weights) for _, weights in row] == pytest.approx([sum(weights) for _, weights in others])
    assert keys_of_field(entries)[1] == buckets_of_names("w")[0], "of a new name only the bucket is known"
    assert keys_of_field(entries)[0] == name_keys(["c x"])[0]


def test_a_record_of_a_worker_that_never_counted_is_counted_from_its_sequence() -> None:
    before = Engines(make_states(), rules_share=0.0)
    before.step(acts("a", "xyx"))
    shelf = stored(before.states, "a")
    engines = engines_with(shelf)
    assert keys_of_field(kept(engines.states, "a")) == buckets_of_names("xy")
    engines.step(acts("a", "y", first=3))
    found = kept(engines.states, "a")
    assert keys_of_field(found) == [int(name_keys(["c y"])[0]), buckets_of_names("x")[0]], "the name is known now"
    assert found[0][0][1][0] == pytest.approx(1 + 0.5 ** (2 / 16))


def test_a_damaged_section_is_counted_anew() -> None:
    engines = engines_with(Shelf())
    engines.step(acts("a", "xyx"))
    before = Engines(make_states(stored=stored(engines.states, "a")), rules_share=0.0)
    slot = int(before.states.slots_of([0], ["a"])[0])
    section = before.states.section(slot, PREFERENCES)
    assert section is not None
    before.states.set_section(slot, PREFERENCES, section[:-1])
    assert keys_of_field(kept(engines_with(stored(before.states, "a")).states, "a")) == buckets_of_names("xy")


def test_sections_of_others_stay_around_the_counts() -> None:
    engines = engines_with(Shelf())
    engines.step(acts("a", "x"))
    slot = int(engines.states.slots_of([0], ["a"])[0])
    for tag in (9, JOINS, 77):
        engines.states.set_section(slot, tag, bytes([tag]))
    shelf = stored(engines.states, "ab")
    again = engines_with(shelf)
    assert stored(again.states, "ab") == shelf
    slot = int(again.states.slots_of([0], ["a"])[0])
    assert [again.states.section(slot, tag) for tag in (JOINS, 9, 77)] == [b"\x02", b"\x09", b"M"]
    assert keys_of_field(kept(again.states, "a")) == [int(name_keys(["c x"])[0])]


def test_evicted_and_forgotten_users_leave_no_counts_behind() -> None:
    engines = engines_with(Shelf())
    engines.step(acts("a", "x"))
    slot = int(engines.states.slots_of([0], ["a"])[0])
    engines.states.empty(slot)
    assert kept(engines.states, "a") == [[], []]
    engines.step(acts("a", "y", first=5))
    engines.state_engine.clear()
    assert not any(array.any() for array in counters_of(engines.states).counts)


def test_a_known_user_takes_in_what_an_anonymous_one_liked() -> None:
    engines = engines_with(Shelf())
    engines.step([*acts("anonymous", "xxy"), *acts("known", "yz", first=10)])
    states = engines.states
    anonymous, known = states.slots_of([0, 0], ["anonymous", "known"]).tolist()
    given = give_sequence(states, anonymous, Source(0, 99))
    assert given is not None
    assert kept(states, "anonymous") == [[], []]
    assert take_sequence(states, known, Source(0, 99), given[0])
    wanted = Liked()
    for name in "xxyyz":
        wanted.count(3, (f"c {name}", f"b {name}"))
    found = dict(kept(states, "known")[0])
    assert found.keys() == dict(wanted.as_stored()[0]).keys()
    assert [found[key][0] for key in found] == pytest.approx([dict(wanted.as_stored()[0])[key][0] for key in found])
    assert not take_sequence(states, known, Source(0, 99), given[0])
    assert dict(kept(states, "known")[0]) == found


def test_prices_are_counted_in_the_bands_of_their_currency() -> None:
    engines = engines_with(Shelf())
    counters = counters_of(engines.states)
    bands = BandTable(
        PriceBands(
            {"EUR": (1.0, 2.0, 3.0, 4.0)}, {"EUR": {int(text_buckets(["c"], 1024)[0]): (10.0, 20.0, 30.0, 40.0)}}
        )
    )
    events = [
        Event("a", "view", "1", price=2.5, currency="EUR"),
        Event("a", "purchase", "1", price=25.0, currency="EUR", category="c"),
        Event("a", "view", "1", price=25.0, currency="CHF"),
        Event("a", "view", "1"),
    ]
    slots = engines.states.slots_of([0] * 4, ["a"] * 4)
    after = counters.count(slots, actions_of(events, [0] * 4), np.ones(4, np.bool_), bands).after
    decay = 0.5 ** (1 / 16)
    assert after.bands[:, 2].tolist() == pytest.approx(
        np.array([[1, 0, 0], [decay, 0, 1], [decay, 0, 1], [decay, 0, 1]])
    )
    assert not after.bands[:, [0, 1, 3, 4]].any()
