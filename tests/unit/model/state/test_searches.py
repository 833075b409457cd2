"""The words of searches through users' records of both layouts, and when they are forgotten."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import SEARCH, Event, actions_of
from model.data.queries import MOST_WORDS, folded_words, query_key, read_queries
from model.state import searches as module
from model.state.searches import queries_of_first_keys
from model.state.sections import SEARCHES, joined_sections, split_sections
from model.state.user_record import FIRST_VERSION, pack, unpack
from model.state.user_states import EVENT_ID_WINDOW, UserStates
from tests.unit.builders.basics import HIDDEN, LENGTH, Shelf, make_states
from tests.unit.builders.searches import key_of_before, words_of_before

DONE = st.lists(st.tuples(st.sampled_from("abc"), st.text("xy z?", max_size=30), st.booleans()), max_size=30)


def do(states: UserStates, done: list[tuple[str, str, bool]]) -> None:
    """Users look at items or search."""
    events = [
        Event(user_id=user, type="search", query=text)
        if search
        else Event(user_id=user, type="view", item_id=text or "i")
        for user, text, search in done
    ]
    actions = actions_of(events, [0] * len(events))
    states.add_searches(actions.queries)
    slots = states.slots_of([0] * len(events), actions.users)
    states.histories.append(slots, actions.item_keys, actions.types.astype(np.uint32))


def records_of(states: UserStates) -> dict[str, bytes]:
    slots = states.slots_of([0] * 3, list("abc"))
    return dict(zip("abc", pack(states.snapshot(slots)), strict=True))


def shelf(records: dict[str, bytes]) -> Shelf:
    return Shelf({(0, user): record for user, record in records.items()})


def network_words(states: UserStates) -> list[list[list[int]]]:
    """What the network reads of each action of the users, zeros for items."""
    found = []
    for user in "abc":
        slot = states.slots_of([0], [user])
        item_keys, contexts, sizes = (column[0] for column in states.histories.gather(slot))
        item_keys, searches = item_keys[:sizes], contexts[:sizes] == SEARCH
        words = folded_words(states.searches.table.words_of(item_keys, searches), 4095)[:, :5]
        found.append(np.pad(words, ((0, 0), (0, 5 - words.shape[1]))).tolist())
    return found


def wanted_words(done: list[tuple[str, str, bool]]) -> list[list[list[int]]]:
    of_users: dict[str, list[list[int]]] = {user: [] for user in "abc"}
    for user, text, search in done:
        of_users[user].append(words_of_before(key_of_before(text)) if search else [0] * 5)
    return [words[-LENGTH:] for words in of_users.values()]


@given(DONE)
def test_words_come_back_with_the_users(done: list[tuple[str, str, bool]]) -> None:
    before = make_states()
    do(before, done)
    records = records_of(before)
    assert network_words(before) == wanted_words(done)
    after = make_states(stored=shelf(records))
    assert records_of(after) == records
    assert network_words(after) == wanted_words(done)
    for user, record in records.items():
        asked = [text for who, text, search in done if who == user][-LENGTH:]
        kept = [search for who, _, search in done if who == user][-LENGTH:]
        distinct = {query_key(text): text for text, search in zip(asked, kept, strict=True) if search}
        assert read_by_hand(record) == {
            key: [bucket for bucket in read_queries([text])[1].words[0].tolist() if bucket]
            for key, text in distinct.items()
            if read_queries([text])[1].words.any()
        }


@given(DONE)
def test_the_layout_before_has_words_for_keys_and_is_read(done: list[tuple[str, str, bool]]) -> None:
    before = make_states()
    do(before, done)
    before.version = FIRST_VERSION
    records = records_of(before)
    for user, record in records.items():
        (row,) = unpack([record], epoch=1, hidden=HIDDEN, ids=EVENT_ID_WINDOW).rows
        wanted = [(text, search) for who, text, search in done if who == user][-LENGTH:]
        found = row["actions"]["object"][: len(wanted)].tolist()
        assert [key for key, (_, search) in zip(found, wanted, strict=True) if search] == [
            key_of_before(text) for text, search in wanted if search
        ]
    after = make_states(stored=shelf(records))
    assert network_words(after) == wanted_words(done)
    after.version = FIRST_VERSION
    assert records_of(after) == records
    again = make_states(stored=shelf(records_of(after)))
    assert network_words(again) == wanted_words(done)


@given(DONE, st.data())
def test_a_search_that_its_section_does_not_have_is_one_without_words(
    done: list[tuple[str, str, bool]], data: st.DataObject
) -> None:
    before = make_states()
    do(before, done)
    records = {}
    for user, record in records_of(before).items():
        stored = unpack([record], epoch=1, hidden=HIDDEN, ids=EVENT_ID_WINDOW)
        section = split_sections(stored.sections[0]).get(SEARCHES, b"")
        cut = section[: data.draw(st.integers(0, len(section)))]
        slot = before.slots_of([0], [user])
        own = replace(before.snapshot(slot), sections=None)
        text = joined_sections({SEARCHES: cut})
        own = replace(own, sections=(np.frombuffer(text, np.uint8), np.array([0, len(text)])))
        (records[user],) = pack(own)
    after = make_states(stored=shelf(records))
    for found, wanted in zip(network_words(after), wanted_words(done), strict=True):
        assert all(one == other or not any(one) for one, other in zip(found, wanted, strict=True))
    assert set(records_of(after)) == set("abc")


def test_sections_of_others_stand_behind_the_searches() -> None:
    states = make_states()
    do(states, [("a", "red shoes", True), ("b", "item", False)])
    slots = dict(zip("abc", states.slots_of([0] * 3, list("abc")).tolist(), strict=True))
    for user in "ab":
        states.set_section(slots[user], 70, b"more")
    stored = unpack(list(records_of(states).values()), epoch=1, hidden=HIDDEN, ids=EVENT_ID_WINDOW)
    tags = [list(split_sections(sections)) for sections in stored.sections]
    assert tags == [[SEARCHES, 70], [70], []]


def test_searches_that_no_ring_has_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAST_FORGOTTEN", 50)
    states, done, most = make_states(), list[tuple[str, str, bool]](), 0
    states.searches = module.Searches()
    for n in range(600):
        done.append(("abc"[n % 2], f"query {n}", n % 3 > 0))
        do(states, done[-1:])
        most = max(most, len(states.searches.table))
    assert len(states.searches.table) <= most <= 51
    assert network_words(states) == wanted_words(done)
    states.clear()
    assert not len(states.searches.table)


def test_keys_of_the_layout_before_are_words() -> None:
    keys = np.array([key_of_before(text) for text in ("red shoes", "a b c d e f", "?!")], np.uint64)
    queries = queries_of_first_keys(keys)
    assert queries.keys.tolist() == keys.tolist()
    assert queries.words.tolist() == [words_of_before(key) + [0] * (MOST_WORDS - 5) for key in keys.tolist()]


def read_by_hand(record: bytes) -> dict[int, list[int]]:
    """The searches in a record, by the description of the section."""
    (sections,) = unpack([record], epoch=1, hidden=HIDDEN, ids=EVENT_ID_WINDOW).sections
    text, at, found = split_sections(sections).get(SEARCHES, b""), 0, dict[int, list[int]]()
    while at < len(text):
        key, count = struct.unpack_from("<QB", text, at)
        found[key] = list(struct.unpack_from(f"<{count}H", text, at + 9))
        at += 9 + 2 * count
    return found
