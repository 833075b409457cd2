"""What a user did lately, against a count by hand of the whole past."""

from __future__ import annotations

import random

import numpy as np
import pytest

from model.data.contexts import unpack_contexts
from model.data.events import EVENT_TYPES, Event, actions_of
from model.data.recent import RECENT_LENGTH, RecentActions
from model.data.sequences import Sequences, sequences_of
from model.data.vocabulary import Vocabulary
from model.network.purchase_features import NUM_FEATURES, ROWS, purchase_features, purchase_features_of

ITEMS = tuple(f"item {n}" for n in range(6))
AMOUNTS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 14, 17, 21, 25, 29, 32)  # the least of each bucket


def log(seed: int = 1, users: int = 6, actions: int = 50) -> tuple[list[Event], Sequences]:
    """Users who come back to a few items, two of which the vocabulary does not have."""
    rng = random.Random(seed)
    items = [*ITEMS, "unknown 1", "unknown 2"]
    events = [
        Event(
            user_id=str(user),
            type=rng.choice(EVENT_TYPES),
            item_id=items[n],
            query="shoes",
            category=f"category {n % 3}",
            brand=f"brand {n}",
            price=float(n),
        )
        for user in range(users)
        for n in (rng.randrange(len(items)) for _ in range(actions))
    ]
    times = np.cumsum([rng.choice((1_000, 60_000, 2_400_000)) for _ in events])
    return events, sequences_of(actions_of(events, times))


def bucket(amount: int) -> int:
    return max(n for n, least in enumerate(AMOUNTS) if least <= amount)


def by_hand(events: list[Event], opens: list[bool], position: int) -> list[int]:
    """The features after an event that do not come straight from its context, from the user's events so far."""
    window = list(zip(events, opens, strict=True))[max(0, position + 1 - RECENT_LENGTH) : position + 1][::-1]
    kinds = [EVENT_TYPES.index(event.type) for event, _ in window]
    before = [1 + kind for kind in kinds[1:4]] + [0] * (4 - len(kinds))
    counts = [kinds.count(code) for code in range(8)]
    since = [1 + kinds.index(code) if code in kinds else 0 for code in range(8)]
    last = window[0][0]
    same = [key(event) == key(last) for event, _ in window]
    session = next((n + 1 for n, (_, opening) in enumerate(window) if opening), len(window))
    bought = sum(alike and kind == EVENT_TYPES.index("purchase") for alike, kind in zip(same, kinds, strict=True))
    alike = sum(event.category == last.category for event, _ in window)
    totals = [len(window), session, sum(same), bought, alike, len(window) - sum(same)]
    return [*before[:3], *map(bucket, (*counts, *since, *totals))]


def key(event: Event) -> object:
    """What makes two events one item: that the catalogue has it, else (searches too) category and brand."""
    known = event.item_id in ITEMS and event.type != "search"
    return event.item_id if known else (event.category, event.brand)


@pytest.mark.parametrize("seed", range(3))
def test_counts_the_last_actions(seed: int) -> None:
    events, sequences = log(seed)
    found = purchase_features_of(sequences, Vocabulary(ITEMS), np.arange(len(sequences)))
    fields = unpack_contexts(sequences.contexts)
    firsts = np.concatenate(([0], np.cumsum([16, 32, 16, 1024, 512, 9, 9, 9, *[16] * 21])))
    features = found - firsts
    assert found.shape == (len(events), NUM_FEATURES)
    expected = (fields.types + 8 * fields.boundaries, fields.gaps, fields.prices, fields.categories, fields.brands)
    assert features[:, :5].tolist() == np.stack(expected, 1).tolist()
    opens = fields.boundaries.astype(bool).tolist()
    for start, stop in zip(sequences.offsets[:-1].tolist(), sequences.offsets[1:].tolist(), strict=True):
        for position in range(stop - start):
            assert features[start + position, 5:].tolist() == by_hand(events[start:stop], opens[start:stop], position)


def test_a_user_without_actions_has_rows_too() -> None:
    nothing = RecentActions(
        np.zeros(0, np.int32),
        np.zeros(0, np.uint32),
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        np.zeros(0, np.uint64),
    )
    found = purchase_features(nothing)
    assert found.shape == (1, NUM_FEATURES)
    assert ((found >= 0) & (found < ROWS)).all()
