"""Sequences that are given away and taken in: lists of item keys are the oracle."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from model.data.events import NO_TIME, Event, actions_of, item_key
from model.data.queries import folded_words
from model.errors import RecordCorrupt
from model.state.join_notes import Source
from model.state.sections import JOINS
from model.state.user_joins import REMEMBERED, TAKEN_IN, give_sequence, take_sequence
from model.state.user_record import FIRST_VERSION, RECORD_VERSION, pack
from model.state.user_states import UserStates
from tests.unit.builders.basics import CPU, LENGTH, make_states
from tests.unit.builders.searches import key_of_before, words_of_before


def act(states: UserStates, user: str, *items: str, time: int = 1000) -> int:
    """Has a user do something; returns their slot."""
    events = [Event(user_id=user, type="view", item_id=item, event_id=item) for item in items]
    slots = states.slots_of([0] * max(len(items), 1), [user] * max(len(items), 1))
    if events:
        actions = actions_of(events, [time + n for n in range(len(items))])
        states.histories.append(slots, actions.item_keys, np.full(len(items), 3, np.uint32))
        states.remember(slots, actions)
        states.weights_id[slots] = 9
        states.hidden[slots] = 1.0
    return int(slots[0])


def items_of(states: UserStates, slot: int) -> list[int]:
    keys, _, sizes = states.histories.gather(np.array([slot]))
    return [int(key) for key in keys[0, : sizes[0]]]


def keys(*items: str) -> list[int]:
    return [item_key(item) for item in items]


def test_a_sequence_moves_whole_and_leaves_nothing_but_event_ids() -> None:
    states = make_states(CPU)
    anonymous, known = act(states, "a", "1", "2", "3"), act(states, "u", "8", "9", time=2000)
    event_ids = states.event_ids[anonymous].copy()
    states.offsets[anonymous] = 7
    given = give_sequence(states, anonymous, Source(0, 8))
    assert given is not None
    assert given[1]
    assert items_of(states, anonymous) == []
    assert (states.histories.counts[anonymous], states.last_times[anonymous]) == (0, NO_TIME)
    assert (states.weights_id[anonymous], states.offsets[anonymous], bool(states.hidden[anonymous].any())) == (
        0,
        7,
        False,
    )
    assert np.array_equal(states.event_ids[anonymous], event_ids)
    assert take_sequence(states, known, Source(0, 8), given[0])
    assert items_of(states, known) == keys("1", "2", "3", "8", "9")
    assert (states.histories.counts[known], states.weights_id[known]) == (2, 0)
    assert states.last_times[known] == 2001


@pytest.mark.parametrize("version", [FIRST_VERSION, RECORD_VERSION])
def test_the_words_of_searches_move_along(version: int) -> None:
    before, after = make_states(CPU), make_states(CPU)
    before.version = version
    actions = actions_of([Event(user_id="a", type="search", query="red shoes")], [5])
    before.add_searches(actions.queries)
    slots = before.slots_of([0], ["a"])
    before.histories.append(slots, actions.item_keys, actions.types.astype(np.uint32))
    before.remember(slots, actions)
    given = give_sequence(before, int(slots[0]), Source(0, 8))
    assert given is not None
    slot = act(after, "u", "8")
    assert take_sequence(after, slot, Source(0, 8), given[0])
    item_keys, contexts, _ = after.histories.gather(np.array([slot]), 2)
    assert contexts[0].tolist() != [3, 3]
    words = after.searches.table.words_of(item_keys[0], np.array([True, False]))
    assert folded_words(words, 4095)[0].tolist() == words_of_before(key_of_before("red shoes"))[:2]


def test_the_same_source_gives_the_same_bytes_however_often_it_comes() -> None:
    states = make_states(CPU)
    slot = act(states, "a", "1", "2")
    first = give_sequence(states, slot, Source(3, 5))
    act(states, "a", "3")
    assert first is not None
    assert give_sequence(states, slot, Source(3, 5)) == (first[0], False)
    assert items_of(states, slot) == keys("3")
    second = give_sequence(states, slot, Source(3, 6))
    assert second is not None
    assert second[0] != first[0]
    assert give_sequence(states, slot, Source(3, 7)) is None


def test_a_sequence_is_taken_in_once_and_also_by_a_user_who_did_nothing() -> None:
    states = make_states(CPU)
    given = give_sequence(states, act(states, "a", "1", "2"), Source(0, 1))
    assert given is not None
    known = act(states, "u")
    assert take_sequence(states, known, Source(0, 1), given[0])
    assert not take_sequence(states, known, Source(0, 1), given[0])
    assert items_of(states, known) == keys("1", "2")
    assert states.histories.counts[known] == 0
    act(states, "u", "3", time=5000)
    assert items_of(states, known) == keys("1", "2", "3")
    assert states.histories.counts[known] == 1


def test_notes_outlive_memory_and_are_bounded() -> None:
    states = make_states(CPU)
    for number in range(TAKEN_IN + 5):
        slot, known = act(states, "a", f"{number}", time=1000 * number + 1000), act(states, "u")
        given = give_sequence(states, slot, Source(0, number))
        assert given is not None
        assert take_sequence(states, known, Source(0, number), given[0])
    pair = [act(states, "a"), act(states, "u")]
    stored = dict(zip("au", pack(states.snapshot(np.array(pair))), strict=True))
    assert len(stored["a"]) < 500 + REMEMBERED * 200
    back = make_states(CPU, stored=lambda _, users: {user: stored[user] for user in users if user in stored})
    slot, known = (int(one) for one in back.slots_of([0, 0], ["a", "u"]))
    newest = TAKEN_IN + 4
    given = give_sequence(back, slot, Source(0, newest))
    assert given is not None
    assert not given[1]
    assert not take_sequence(back, known, Source(0, newest), given[0])
    assert items_of(back, known) == keys(*(f"{number}" for number in range(newest + 1 - LENGTH, newest + 1)))


def test_a_sequence_of_another_epoch_or_with_damage_is_not_taken_in() -> None:
    states = make_states(CPU)
    given = give_sequence(states, act(states, "a", "1"), Source(0, 1))
    assert given is not None
    known = act(states, "u", "2")
    with pytest.raises(RecordCorrupt, match="cannot be read"):
        take_sequence(states, known, Source(0, 1), given[0][:-1] + b"?")
    states.epoch += 1
    assert not take_sequence(states, known, Source(0, 1), given[0])
    assert items_of(states, known) == keys("2")


def test_notes_that_cannot_be_read_are_none() -> None:
    states = make_states(CPU)
    slot = act(states, "a", "1")
    states.set_section(slot, JOINS, b"?")
    given = give_sequence(states, slot, Source(0, 1))
    assert given is not None
    assert given[1]


@dataclass
class Plain:
    """Users as lists; `given` by source, and what each has taken in."""

    sequences: dict[str, list[str]] = field(default_factory=dict)
    given: dict[int, list[str]] = field(default_factory=dict)
    taken: dict[str, set[int]] = field(default_factory=dict)


@pytest.mark.parametrize("seed", range(20))
def test_any_course_of_joins_keeps_each_action_in_one_place(seed: int) -> None:
    """Sources come again, in any order, to several users; times rise, so that what is taken in is the newer part."""
    rng, states, plain, records = random.Random(seed), make_states(CPU, length=64), Plain(), dict[int, bytes]()
    for number in range(40):
        user = rng.choice("abuv")
        if rng.random() < 0.5:
            act(states, user, f"{number}", time=1000 * number)
            plain.sequences.setdefault(user, []).append(f"{number}")
        source = rng.randrange(number + 1) if rng.random() < 0.3 else number
        anonymous, known = "ab"[source % 2], "uv"[source // 2 % 2]
        given = give_sequence(states, act(states, anonymous), Source(0, source))
        if source not in plain.given and plain.sequences.get(anonymous):
            plain.given[source], plain.sequences[anonymous] = plain.sequences[anonymous], []
        assert (given is not None) == (source in plain.given)
        if given is not None:
            assert records.setdefault(source, given[0]) == given[0]
            fresh = take_sequence(states, act(states, known), Source(0, source), given[0])
            assert fresh == (source not in plain.taken.setdefault(known, set()))
            if fresh:
                plain.taken[known].add(source)
                both = plain.sequences.get(known, []) + plain.given[source]
                plain.sequences[known] = sorted(both, key=int)
        for name, sequence in plain.sequences.items():
            assert sorted(items_of(states, act(states, name))) == sorted(keys(*sequence))
    assert torch.isfinite(states.hidden).all()
