"""Whom a round is judged by: everybody where there is time for that, else a sample of the users, with its error.

Each target is ranked among all items, by all rankers: without a bound, judging would grow with targets times items.
Users are drawn and not targets, as an evaluation reads whole sequences.
Shapes: N targets.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model.data.sequences import Sequences


def judged_users(sequences: Sequences, cut: int, most: int, seed: int) -> Sequences:
    """Returns the sequences of users with about `most` targets from `cut` (ms) on, drawn at random; all, if these have
    no more."""
    targets = np.bincount(sequences.users_at(sequences.targets_from(cut)), minlength=len(sequences.offsets) - 1)
    if targets.sum() <= most:
        return sequences
    order = np.random.default_rng(seed).permutation(len(targets))
    before = np.cumsum(targets[order]) - targets[order]
    return sequences.of_users(np.sort(order[before < most]))  # the last one drawn may have more than are missing


def standard_error(values: NDArray[np.float64], owners: NDArray[np.int64], *, unseen: float = 0.0) -> float:
    """Returns the standard error of the mean of values (N,) on targets of users (N,), who are independent of each other
    while their targets are not (Liang and Zeger, 1986); infinite for a single user.

    `unseen` is how many users with a value one away from the mean are counted beside those who are there.
    """
    _, users = np.unique(owners, return_inverse=True)
    sums = np.bincount(users, values - values.mean()) if len(values) else np.zeros(0)
    if len(sums) < 2:
        return math.inf
    return math.sqrt(float((sums**2).sum()) * len(sums) / (len(sums) - 1) + unseen) / len(values)
