"""Answers one at a time, and the columns of features that explain them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from model.data.recent import RecentActions
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.fusion.candidate_features import FEATURES, CandidateSources, NetworkBest
from model.kernels.compiled import Floats, compiled
from model.profile.why.left_out import (
    AGES,
    AT_ONCE,
    MOST_LEFT_OUT,
    TERMS,
    enter_items,
    list_own,
    look_up,
    new_explained,
    new_own_items,
)
from model.profile.why.left_out_features import BESIDES, fill_columns
from tests.unit.builders.candidates import asked_after

NO_WEIGHTS = np.zeros((AGES, TERMS), np.float32)


@compiled
def columns_of(
    sources: CandidateSources,
    n: int,
    items: NDArray[np.int64],
    weights: Floats,
    features: Floats,
    own_numbers: NDArray[np.int64],
) -> int:
    own, explained = new_own_items(), new_explained(sources.live.vectors.shape[1])
    distinct = list_own(sources, n, own)
    enter_items(sources, items, 0, explained)
    look_up(sources, n, own, distinct, explained)
    left_out = min(distinct, MOST_LEFT_OUT)
    fill_columns(sources, n, own, distinct, explained, weights, features[:, : AT_ONCE * (left_out + BESIDES)])
    own_numbers[:left_out] = own.numbers[:left_out]
    return left_out  # type: ignore[no-any-return]


def questions(
    log: Sequences, vocabulary: Vocabulary, step: int, *, seed: int
) -> Iterator[tuple[RecentActions, NetworkBest]]:
    recent, best = asked_after(log, vocabulary, range(5, len(log), step), seed=seed)
    for n in range(len(recent.starts)):
        yield recent.select(slice(n, n + 1)), best.select(slice(n, n + 1))


def left_out_of(
    sources: CandidateSources, n: int, items: list[int], weights: Floats = NO_WEIGHTS
) -> tuple[Floats, list[int]]:
    """The features (F, k, O + BESIDES) and the numbers of the own items that are left out."""
    features, own = np.zeros((len(FEATURES), 99), np.float32), np.zeros(MOST_LEFT_OUT, np.int64)
    left_out = columns_of(sources, n, np.array(items), weights, features, own)
    width = left_out + BESIDES
    return features[:, : AT_ONCE * width].reshape(len(FEATURES), AT_ONCE, width), own[:left_out].tolist()
