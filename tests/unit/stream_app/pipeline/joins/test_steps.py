"""Identities and joins, in any split of a log into batches, do what they do one at a time; lists are the oracle."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.contexts import unpack_contexts
from model.data.events import item_key
from model.items.item import Item
from stream_app.contract.joins import JoinedSequence, JoinRequest, encode_join, imported_past
from stream_app.pipeline.joins.fetched import JoinsFetch
from stream_app.pipeline.joins.steps import PlacedIdentity, pieces
from tests.unit.builders.basics import make_record, splits
from tests.unit.builders.joins import JoiningPipeline, Record, home_of
from tests.unit.builders.past import log_of as log_in_past
from tests.unit.builders.past import past_of

USERS = "aduw"  # the first two are anonymous; a and w are of one partition, d and u of the other


@dataclass
class Said:
    """One record of the log: an action of a user, or that `user` turned out to be somebody."""

    user: str
    known: str | None = None
    own: bool = True  # whose key an identity has


SAID = st.builds(Said, st.sampled_from(USERS)) | st.builds(
    Said, st.sampled_from(USERS[:2]), st.sampled_from(USERS[2:]), st.booleans()
)


def log_of(said: list[Said]) -> list[Record]:
    """Each partition's offsets rise; an action's item is its number in the log."""
    ends: defaultdict[int, int] = defaultdict(int)
    log = []
    for number, one in enumerate(said):
        key = one.user if one.known is None or one.own else one.known
        content = {"user_id": one.user, "type": "view", "item_id": f"{number}", "timestamp": 10**12 + 1000 * number}
        if one.known is not None:
            content = {"type": "identify", "user_id": one.known, "anonymous_id": one.user}
        home = home_of(key)
        log.append(make_record(json.dumps(content).encode(), key=key.encode(), offset=ends[home], partition=home))
        ends[home] += 1
    return log


NUMBERS = {item_key(f"{number}"): number for number in range(60)}


def items_of(bench: JoiningPipeline) -> dict[str, list[int]]:
    states, found = bench.engine.states, {}
    for user, home in ((user, home_of(user)) for user in USERS):
        if (slot := states.slot(home, user)) is not None:
            keys, _, sizes = states.histories.gather(np.array([slot]))
            found[user] = [NUMBERS[int(key)] for key in keys[0, : sizes[0]]]
    return {user: items for user, items in found.items() if items}


def plain(said: list[Said]) -> dict[str, list[int]]:
    """All sequences, one record at a time."""
    sequences: defaultdict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(said):
        if one.known is None:
            sequences[one.user].append(number)
        else:
            sequences[one.known] = sorted(sequences[one.known] + sequences[one.user])
            sequences[one.user] = []
    return {user: items for user, items in sequences.items() if items}


def sorted_items(bench: JoiningPipeline) -> dict[str, list[int]]:
    """Times are estimated, so what several anonymous users did at the same time may stand in any order."""
    return {user: sorted(items) for user, items in items_of(bench).items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(SAID, max_size=40))
def test_one_at_a_time_sequences_go_where_identities_say(said: list[Said]) -> None:
    bench = JoiningPipeline()
    for record in log_of(said):
        bench.process([record])
    assert sorted_items(bench) == plain(said)


@settings(max_examples=60, deadline=None)
@given(st.lists(SAID.filter(lambda one: one.known is None or one.own), max_size=40), st.data())
def test_any_split_of_a_log_does_the_same(said: list[Said], data: st.DataObject) -> None:
    """What came to the anonymous users' partition; the others are asked for in the order of another log."""
    log, one_by_one, split = log_of(said), JoiningPipeline(), JoiningPipeline()
    for record in log:
        one_by_one.process([record])
    for batch in data.draw(splits(log)):
        split.process(batch)
    assert sorted_items(split) == plain(said)
    assert split.lengths == one_by_one.lengths
    assert set(split.written) == set(one_by_one.written)  # batches overlap: what was sent may be sent again


def view(user: str) -> Said:
    return Said(user)


def test_replays_send_the_same_again_and_change_nothing() -> None:
    log = log_of([view("a"), view("a"), Said("a", "u"), view("a"), Said("a", "u"), view("a")])
    bench, again = JoiningPipeline(), JoiningPipeline()
    bench.process(log)
    first, records = list(bench.written), dict(bench.records)
    bench.process(log)
    assert bench.written == first * 2
    assert bench.records == records
    assert items_of(bench) == {"a": [5], "u": [0, 1, 3]}
    assert bench.outcomes() == {"applied": 2, "repeated": 2}
    again.process(log[:3])
    again.process(log[1:])  # a part was done before
    assert items_of(again) == items_of(bench)


def test_a_request_is_answered_by_the_owner_of_the_anonymous_user() -> None:
    bench = JoiningPipeline()
    bench.events(log_of([view("a"), view("a")]))
    fetches = bench.events(log_of([Said("a", "u", own=False)]))
    assert bench.written == [("a", JoinRequest("u", (1, 0), 1))]
    assert items_of(bench) == {"a": [0, 1]}
    fetches = bench.joins(fetches)
    (_, joined) = bench.written.pop()
    assert isinstance(joined, JoinedSequence)
    assert (joined.source, joined.anonymous_id) == ((1, 0), "a")
    assert items_of(bench) == {}
    bench.joins(fetches)
    assert items_of(bench) == {"u": [0, 1]}


def test_what_has_nothing_to_give_or_cannot_be_read_changes_nothing() -> None:
    bench = JoiningPipeline()
    bench.process(log_of([Said("a", "u"), Said("d", "u", own=False)]))
    stale = encode_join(JoinRequest("u", (0, 9), 2))
    damaged = encode_join(JoinedSequence((0, 9), "a", b"?"))
    bench.process(log_of([view("a")]))
    records = [make_record(value, key=b"a", offset=n) for n, value in enumerate([stale, damaged, b"?", None])]
    assert bench.joins([JoinsFetch(0, records)]) == []
    assert bench.outcomes() == {"empty": 2, "unreadable": 3}
    assert list(bench.records) == ["a"]


def test_without_joins_identities_are_passed_over() -> None:
    bench = JoiningPipeline()
    bench.pipeline.joins = False
    bench.process(log_of([view("a"), Said("a", "u"), view("a")]))
    assert (items_of(bench), bench.written) == ({"a": [0, 2]}, [])
    assert bench.registry.get_sample_value("nextact_ignored_events_total", {"type": "identify"}) == 1


def identity(before: int) -> PlacedIdentity:
    return PlacedIdentity(0, 0, "a", "u", "a", before)


@pytest.mark.parametrize(
    ("befores", "owners", "cuts"),
    [
        ([], [], [(0, 5, [])]),
        ([2], [1], [(0, 3, [0]), (3, 5, [])]),  # the user acts again at 3
        ([2], [7], [(0, 5, [0])]),  # and this one does not
        ([2], [-1], [(0, 5, [0])]),  # another partition's
        ([0, 5], [0, 0], [(0, 0, [0]), (0, 5, [1])]),
        ([1, 1, 3, 4], [0, 1, 1, 0], [(0, 1, [0, 1]), (1, 3, [2]), (3, 5, [3])]),
    ],
)
def test_a_batch_is_cut_only_where_a_user_acts_again(
    befores: list[int], owners: list[int], cuts: list[tuple[int, int, list[int]]]
) -> None:
    actions = [0, 1, 2, 1, 2]
    found = list(pieces(actions, [identity(before) for before in befores], owners))
    assert found == cuts


def past_record(users: str, end: int, offset: int = 0) -> JoinsFetch:
    """The past of users of one partition: one action each, long ago."""
    log = log_in_past([(user, "view", "0", None, None, 1000, 1) for user in users], 10**9)
    value = encode_join(imported_past(past_of(*log, length=9), 7, end))
    home = home_of(users[0])
    return JoinsFetch(home, [make_record(value, key=users[0].encode(), offset=offset, partition=home)])


def test_a_past_is_taken_in_once_and_kept_when_a_sequence_is_given_away() -> None:
    bench = JoiningPipeline()
    bench.events(log_of([view("a"), view("a")]))
    bench.joins([past_record("aw", 2)])
    changed = set(bench.records)
    bench.joins([past_record("aw", 2, 1)])
    assert changed == {"a", "w"}
    assert bench.outcomes() == {"past": 2, "repeated": 2}
    assert len(bench.changelog) == 1 + 2
    slot = bench.engine.states.slot(home_of("a"), "a")
    assert bench.engine.states.histories.counts[slot] == 3
    bench.process(log_of([view("a"), view("a"), Said("a", "u")])[2:])
    bench.joins([past_record("aw", 2, 2)])
    assert bench.engine.states.histories.counts[slot] == 0
    assert bench.outcomes() == {"past": 2, "repeated": 4, "applied": 1}


def test_the_catalogue_says_what_a_past_does_not() -> None:
    plain, known = JoiningPipeline(), JoiningPipeline()
    known.pipeline.catalogue.apply([Item("00", category=("shoes",), brand="b", price=3.0)], [0])
    for bench in (plain, known):
        bench.joins([past_record("a", 1)])
    fields = []
    for bench in (plain, known):
        slot = bench.engine.states.slot(home_of("a"), "a")
        assert slot is not None
        _, contexts, _ = bench.engine.states.histories.gather(np.array([slot]), 1)
        fields.append(unpack_contexts(contexts))
    assert fields[0].brands[0, 0] == 0
    assert fields[1].brands[0, 0] > 0
    for name in ("types", "boundaries", "gaps", "categories", "prices"):  # which it said itself
        assert getattr(fields[0], name)[0, 0] == getattr(fields[1], name)[0, 0]


def test_a_past_that_does_not_fit_together_is_passed_over() -> None:
    bench = JoiningPipeline()
    log = log_in_past([("a", "view", "0", None, None, 1000, 1)], 10**9)
    broken = msgspec.structs.replace(imported_past(past_of(*log, length=9), 7, 1), sizes=b"")
    bench.joins([JoinsFetch(0, [make_record(encode_join(broken), key=b"a", partition=0)])])
    assert bench.outcomes() == {"unreadable": 1}
