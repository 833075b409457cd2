"""Batches against plain loops over the sequences."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.batches import STEPS, WARM_UP, batch_count, batches
from model.data.events import EVENT_TYPES, MOST_LINES, item_key
from model.data.sequences import sequences_of
from tests.unit.builders.logs import Row, baskets_of, log_of, one_user

LENGTHS = st.lists(st.integers(1, 3 * STEPS), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(1, 600), st.booleans())
def test_batches_count_every_action_once_with_what_follows(lengths: list[int], tokens: int, shuffled: bool) -> None:
    rows: list[Row] = []
    for user, length in enumerate(lengths):
        kinds = [EVENT_TYPES[(user + index) % len(EVENT_TYPES)] for index in range(length)]
        rows += one_user(kinds, f"u{user}")
    sequences = sequences_of(log_of(rows))
    randomness = np.random.default_rng(0) if shuffled else None
    found = list(batches(sequences, tokens=tokens, randomness=randomness))
    assert len(found) == batch_count(sequences, tokens)
    counted = np.concatenate([batch.positions[batch.counted] for batch in found])
    assert sorted(counted.tolist()) == list(range(len(sequences)))
    last = set((sequences.offsets[1:] - 1).tolist())
    for batch in found:
        assert batch.item_keys.size <= max(tokens, STEPS)
        for index, has_next, following, kind, item_key_, soon in zip(
            batch.positions[batch.counted].tolist(),
            batch.has_next[batch.counted].tolist(),
            batch.next_item_keys[batch.counted].tolist(),
            batch.next_types[batch.counted].tolist(),
            batch.item_keys[batch.counted].tolist(),
            batch.purchase_soon[batch.counted].tolist(),
            strict=True,
        ):
            assert item_key_ == sequences.item_keys[index]
            assert has_next == (index not in last)
            assert soon == sequences.purchase_soon[index]
            if has_next:
                assert (following, kind) == (sequences.item_keys[index + 1], sequences.types[index + 1])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=1, max_size=4), st.integers(1, 600))
def test_steps_inside_an_event_do_not_count(users: list[list[int]], tokens: int) -> None:
    baskets = [(f"u{user}", "view", "i" * size, 0) for user, sizes in enumerate(users) for size in sizes]
    sequences = sequences_of(baskets_of(baskets))
    found = list(batches(sequences, tokens=tokens))
    assert len(found) == batch_count(sequences, tokens)
    counted = np.concatenate([batch.positions[batch.counted] for batch in found])
    answered = np.concatenate([batch.positions[batch.has_next] for batch in found])
    sizes = [np.minimum(sizes, MOST_LINES) for sizes in users]
    ends = np.cumsum(np.concatenate(sizes)) - 1
    assert sorted(counted.tolist()) == ends.tolist()
    last = np.cumsum([sum(of_user) for of_user in sizes]) - 1
    assert sorted(answered.tolist()) == np.setdiff1d(ends, last).tolist()
    after_cut = [batch.positions[batch.counted] for batch in batches(sequences, tokens=tokens, cut=0)]
    assert sorted(np.concatenate([[], *after_cut]).tolist()) == sorted(answered.tolist())


def test_long_users_are_cut_with_a_warm_up() -> None:
    sequences = sequences_of(log_of(one_user(["view"] * (STEPS + 1))))
    found = [
        (batch.positions[row][batch.item_keys[row] != 0], int(batch.counted[row].sum()))
        for batch in batches(sequences, tokens=10_000)
        for row in range(len(batch.positions))
    ]
    spans = sorted((int(indices[0]), int(indices[-1]), counted) for indices, counted in found)
    assert spans == [(0, STEPS - 1, STEPS), (WARM_UP, STEPS, 1)]


def test_a_cut_leaves_only_late_targets() -> None:
    rows = one_user(["view"] * 10) + one_user(["view"] * 3, "v")
    sequences = sequences_of(log_of(rows))
    indices = [
        index for batch in batches(sequences, tokens=100, cut=7000) for index in batch.positions[batch.counted].tolist()
    ]
    assert [int(sequences.item_keys[index + 1]) for index in indices] == [item_key(f"i{n}") for n in (7, 8, 9)]


def test_an_empty_log_has_no_batches() -> None:
    sequences = sequences_of(log_of([]))
    assert len(sequences) == 0
    assert list(batches(sequences, tokens=100)) == []
    assert batch_count(sequences, 100) == 0
