"""The last actions behind each answer: lists of plain Python, one per user, are the oracle."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import SEARCH, item_key
from model.data.vocabulary import Vocabulary
from model.serving.recent_actions import recent_actions
from model.state.history_rings import Histories

VIEW = 3
KNOWN = ("a", "b", "c")
VOCABULARY = Vocabulary(KNOWN)
Action = tuple[int, int]  # item key, context

ACTIONS = st.builds(
    lambda item, search, more: (item_key(item), (SEARCH if search else VIEW) + 8 * more),
    st.sampled_from([*KNOWN, "unknown"]),
    st.booleans(),
    st.integers(0, 1000),
)
EVENTS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([True, True, True, False]), ACTIONS), max_size=30)


def shown(actions: list[Action]) -> list[tuple[int, int]]:
    """Catalogue indices and contexts."""
    items = {item_key(item): n for n, item in enumerate(KNOWN)}
    return [(-1 if context % 8 == SEARCH else items.get(value, -1), context) for value, context in actions]


def check(batches: list[list[tuple[int, bool, Action]]], length: int) -> None:
    histories, users = Histories(length, 4), defaultdict[int, list[Action]](list)
    for batch in batches:
        slots = np.array([slot for slot, _, _ in batch], np.int64)
        applied = np.array([is_applied for _, is_applied, _ in batch], np.bool_)
        fresh = [action for _, is_applied, action in batch if is_applied]
        item_keys, contexts = np.array([o for o, _ in fresh], np.uint64), np.array([c for _, c in fresh], np.uint32)
        recent = recent_actions(VOCABULARY, histories, slots, applied, item_keys, contexts)
        for n, (slot, is_applied, action) in enumerate(batch):
            if is_applied:
                users[slot].append(action)
            rows = slice(recent.starts[n], recent.stops[n])
            pairs = list(zip(recent.items[rows].tolist(), recent.contexts[rows].tolist(), strict=True))
            assert pairs == shown(users[slot][-min(length, 32) :])
        histories.append(slots[applied], item_keys, contexts)


@given(st.lists(EVENTS, max_size=4), st.sampled_from([1, 6, 64]))
def test_answers_see_what_their_user_did_up_to_their_event(
    batches: list[list[tuple[int, bool, Action]]], length: int
) -> None:
    check(batches, length)


@pytest.mark.parametrize("length", [6, 32, 64])
@pytest.mark.parametrize("first", [0, 10, 50])
def test_of_many_actions_of_one_user_in_a_batch_the_last_are_seen(first: int, length: int) -> None:
    log = [(n % 2, n % 7 != 0, (item_key(KNOWN[n % 3]), VIEW + 8 * n)) for n in range(200)]
    check([log[:first], log[first:]], length)
