"""What a round learns from: bounded, with what is new and some of what is old."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.data.sequences import Sequences
from model.rounds.rehearsal import NEW_SHARE, rehearsal


def log(sizes: list[int], newest: list[int]) -> Sequences:
    """A user for each size; `newest` are the times of their last actions. Item keys tell the user and the position."""
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    item_keys = np.concatenate([1000 * user + np.arange(size) for user, size in enumerate(sizes)]).astype(np.uint64)
    times = np.concatenate([last - np.arange(size)[::-1] for size, last in zip(sizes, newest, strict=True)])
    alone = np.zeros(len(item_keys), np.bool_)  # each action is an event of its own
    return Sequences(item_keys, np.zeros(len(item_keys), np.uint32), times, alone, offsets)


def users_of(sequences: Sequences) -> list[int]:
    return [int(first) // 1000 for first in sequences.item_keys[sequences.offsets[:-1]]]


def test_a_log_that_is_short_enough_is_taken_whole() -> None:
    whole = log([3, 4], [10, 20])
    assert rehearsal(whole, 15, 7, np.random.default_rng(1)) is whole


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(0, 2**32 - 1), st.integers(20, 500))
def test_it_is_bounded_and_users_stay_whole(sizes: list[int], seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    sequences = log(sizes, rng.integers(100, 200, len(sizes)).tolist())
    result = rehearsal(sequences, 150, most, rng).part(0)
    assert len(result) <= max(most, 0) or result is sequences
    for user, size in zip(users_of(result), np.diff(result.offsets).tolist(), strict=True):
        assert size == sizes[user]


def test_half_is_new_and_half_is_old_where_both_are_plenty() -> None:
    sequences = log([10] * 1000, [100] * 500 + [1000] * 500)
    result = rehearsal(sequences, 500, 2000, np.random.default_rng(1)).part(0)
    new = sum(user >= 500 for user in users_of(result))
    assert len(result) == 2000
    # The old half is drawn from all the others, new ones among them.
    assert NEW_SHARE * 200 <= new <= 180


def test_few_new_users_are_all_there() -> None:
    sequences = log([10] * 1000, [100] * 990 + [1000] * 10)
    result = rehearsal(sequences, 500, 2000, np.random.default_rng(1)).part(0)
    assert set(range(990, 1000)) <= set(users_of(result))


def test_of_a_user_with_very_many_actions_the_newest_are_taken() -> None:
    sequences = log([900, 50, 50], [10_000, 100, 100])
    result = rehearsal(sequences, 9000, 990, np.random.default_rng(1)).part(0)
    assert np.diff(result.offsets).max() <= 512
    assert result.item_keys.max() < 3000
    assert (result.item_keys[result.times == 10_000] == 899).all()
