"""The users that a round is judged by: whole, drawn by a seed, and with an error that says how far a sample is off."""

from __future__ import annotations

import math

import numpy as np

from model.data.sequences import Sequences
from model.evaluation.judged_users import judged_users, standard_error
from tests.unit.builders.sequences import random_users, sequences

LOG = sequences(*random_users(3, users=300))
CUT = 0


def targets(log: Sequences) -> int:
    return len(log.targets_from(CUT))


def users(log: Sequences) -> set[bytes]:
    """The sequences of a log's users, by their items."""
    ends = zip(log.offsets[:-1], log.offsets[1:], strict=True)
    return {log.item_keys[first:last].tobytes() for first, last in ends}


def test_all_are_judged_where_there_are_no_more_targets_than_wanted() -> None:
    assert judged_users(LOG, CUT, targets(LOG), 1) is LOG


def test_a_sample_has_about_so_many_targets_of_whole_users_and_a_seed_fixes_it() -> None:
    most = targets(LOG) // 3
    longest = int(np.diff(LOG.offsets).max())
    sample, same, other = (judged_users(LOG, CUT, most, seed) for seed in (1, 1, 2))
    assert most <= targets(sample) < most + longest
    assert users(sample) <= users(LOG)
    assert users(sample) == users(same) != users(other)


def test_a_user_with_more_targets_than_wanted_can_be_the_only_one() -> None:
    assert len(judged_users(sequences("ab" * 30, "ab" * 30), CUT, 5, 1).offsets) == 2


def test_the_error_of_a_mean_is_that_of_samples_of_whole_users() -> None:
    rng, sizes = np.random.default_rng(1), np.arange(1, 40)
    means = []
    for _ in range(2000):
        owners = np.repeat(np.arange(len(sizes)), rng.permutation(sizes))
        # Half of what makes a target a hit is its user's, so that targets of one user are alike.
        values = (rng.random(len(sizes))[owners] + rng.random(len(owners)) > 1.0).astype(np.float64)
        means.append((values.mean(), standard_error(values, owners)))
    found, errors = np.array(means).T
    assert abs(np.median(errors) / found.std() - 1) < 0.1
    assert np.median(errors) > 1.5 * 0.5 / math.sqrt(sizes.sum())  # of independent targets


def test_a_single_user_says_nothing_of_others() -> None:
    assert standard_error(np.ones(3), np.zeros(3, np.int64)) == math.inf
    assert standard_error(np.zeros(0), np.zeros(0, np.int64)) == math.inf
