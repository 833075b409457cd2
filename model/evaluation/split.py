"""Splits of what is learned from and what is to be predicted: a log cut in time, or sessions and examples of papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import ARRAYS, TYPE_CODES, Actions, concatenate, item_key
from model.data.price_bins import price_bins_of
from model.data.queries import NO_QUERIES
from model.data.sequences import Sequences, frequent_items, sequences_of
from model.errors import TooLittleData
from model.evaluation.ranking import Holdout

# Sessions in files without times get made-up ones, in the order of the file: every gap is the same, and which session
# is more recent is known.
FIRST_SESSION_MS: Final = 946_684_800_000  # when the first session begins: the year 2000
SESSION_MS: Final = 60_000  # from the beginning of a session to that of the next
ACTION_MS: Final = 1_000  # from action to action


@dataclass(frozen=True, slots=True)
class Split:
    """What a model learns from, and what it has to predict."""

    known: Sequences  # the training data
    items: list[str]  # ids of the items of training
    holdout: Holdout
    cut: int  # when the training data end, ms
    timed: bool  # whether the times are those of the events, not made up


def split_log(logs: Sequence[Actions], cut: int) -> Split:
    """Splits logs, given in any order, at `cut` (ms): to predict is what `Sequences.targets_from` names.

    Raises `TooLittleData` if there is no action on an item before `cut`, or no target.
    """
    actions = in_order_of_time(concatenate(logs))
    known = actions.take(np.flatnonzero(actions.times < cut))
    sequences = sequences_of(actions, price_bins_of(known))
    holdout = Holdout(sequences, sequences.targets_from(cut))
    return _checked(Split(sequences.before(cut), frequent_items(known), holdout, cut, timed=True))


def split_sessions(train: Sequence[Sequence[str]], examples: Sequence[tuple[Sequence[str], str]]) -> Split:
    """Makes a split of training sessions in the order of time, and examples: a prefix and its next item, the target.

    Raises `TooLittleData` if one of them is empty.
    """
    cut = FIRST_SESSION_MS + len(train) * SESSION_MS
    actions = _views(train, FIRST_SESSION_MS, "train")
    sequences = sequences_of(_views([[*prefix, target] for prefix, target in examples], cut, "test"))
    holdout = Holdout(sequences, sequences.offsets[1:] - 1)
    return _checked(Split(sequences_of(actions), frequent_items(actions), holdout, cut, timed=False))


def validation(known: Sequences, share: float = 0.1, most: int = 2000) -> tuple[Sequences, Holdout]:
    """Holds out the newest share of the training data; returns the rest, and a holdout of at most so many targets."""
    cut = known.newest(share)
    targets = known.targets_from(cut)
    return known.before(cut), Holdout(known, targets[:: -(-len(targets) // most) or 1])


def in_order_of_time(actions: Actions) -> Actions:
    """Sorts actions by time; those of the same time stay in their order."""
    order = np.argsort(actions.times, kind="stable")
    indices = order.tolist()
    return Actions(
        users=[actions.users[index] for index in indices],
        items=[actions.items[index] for index in indices],
        queries=actions.queries,
        **{name: getattr(actions, name)[order] for name in ARRAYS},
    )


def _checked(split: Split) -> Split:
    if not len(split.items):
        raise TooLittleData("there is no action on an item to learn from before the test")
    if not len(split.holdout):
        raise TooLittleData("there is nothing to predict: no test action on an item follows another action of its user")
    return split


def _views(sessions: Sequence[Sequence[str]], begin: int, prefix: str) -> Actions:
    """Makes views of sessions, each with a user of its own."""
    sizes = np.array([len(session) for session in sessions], np.int64)
    hashes: dict[str, int] = {}
    items = [item for session in sessions for item in session]
    item_keys = [hashes[item] if item in hashes else hashes.setdefault(item, item_key(item)) for item in items]
    owners = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(items)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    names = [f"{prefix} {session}" for session in range(len(sizes))]
    empty = concatenate([])
    nothing = {name: np.zeros(len(items), getattr(empty, name).dtype) for name in ARRAYS}
    return replace(
        Actions(users=[names[owner] for owner in owners.tolist()], items=items, queries=NO_QUERIES, **nothing),
        types=np.full(len(items), TYPE_CODES["view"], np.uint8),
        item_keys=np.array(item_keys, np.uint64),
        times=_times(begin, owners, within),
    )


def _times(begin: int, owners: NDArray[np.int64], within: NDArray[np.int64]) -> NDArray[np.int64]:
    times: NDArray[np.int64] = begin + owners * SESSION_MS + within * ACTION_MS
    return times
