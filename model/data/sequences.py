"""From a log of actions to the sequences that the network learns from.

Shapes: N actions of a log, A actions of all sequences, U users.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import contexts_of, types_of
from model.data.event_time import user_clocks
from model.data.events import NO_TIME, PURCHASE, PURCHASE_HORIZON, PURCHASE_WITHIN_MS, SEARCH, Actions


@dataclass(frozen=True, slots=True)
class Sequences:
    """The actions of U users, one user after the other, each in log order."""

    item_keys: NDArray[np.uint64]  # (A,)
    contexts: NDArray[np.uint32]  # (A,)
    times: NDArray[np.int64]  # (A,) ms; never falling within a user, so that a cut in time is a cut in order
    offsets: NDArray[np.int64]  # (U + 1,)

    def __len__(self) -> int:
        return len(self.item_keys)

    @property
    def room(self) -> int:
        """As `Log.room`: what is here is in memory already."""
        return sys.maxsize

    @property
    def part_count(self) -> int:
        """As `Log.part_count`."""
        return 1

    def part(self, _number: int) -> Sequences:
        """As `Log.part`."""
        return self

    @property
    def span(self) -> tuple[int, int]:
        """The times (ms) of the oldest and of the newest action; both 0 without any."""
        return (int(self.times.min()), int(self.times.max())) if len(self) else (0, 0)

    @property
    def types(self) -> NDArray[np.uint8]:
        """Type codes, (A,)."""
        return types_of(self.contexts)

    @property
    def has_next(self) -> NDArray[np.bool_]:
        """Which actions the same user followed by another, (A,)."""
        following = np.ones(len(self), np.bool_)
        following[self.offsets[1:] - 1] = False
        return following

    def next_actions_from(self, cut: int | None = None) -> NDArray[np.int64]:
        """Indices, rising, of the actions at or after `cut` (ms; None: of all) that follow another of their user, (N,).

        These are the ones that a model can be asked to predict: a user's first action follows nothing.
        """
        indices: NDArray[np.int64] = np.flatnonzero(self.has_next) + 1
        return indices if cut is None else indices[self.times[indices] >= cut]

    def targets_from(self, cut: int | None = None) -> NDArray[np.int64]:
        """Indices, rising, of the next actions on items from `cut` on, (N,): the targets of training and of tests.

        What a target is, is said here alone: an action on an item, at or after `cut` (ms; None: at any time), that
        follows another action of its user, of any type and on whichever side of the cut.
        """
        indices = self.next_actions_from(cut)
        on_items: NDArray[np.int64] = indices[self.types[indices] != SEARCH]
        return on_items

    @property
    def purchase_soon(self) -> NDArray[np.bool_]:
        """Which actions a purchase followed among the user's next PURCHASE_HORIZON and within PURCHASE_WITHIN_MS, (A,).

        A user who left without buying has not bought: the label is about users as they are, not as they stay. Of the
        newest actions it is not known yet: see `purchase_known`.
        """
        places = np.arange(len(self))
        bought = np.where(self.types == PURCHASE, places, len(self))
        coming = np.minimum.accumulate(np.append(bought, len(self))[::-1])[::-1][1:]  # the first purchase after each
        ends = np.repeat(self.offsets[1:], np.diff(self.offsets))
        soon = coming < np.minimum(places + 1 + PURCHASE_HORIZON, ends)
        times = np.append(self.times, 0)
        return soon & (times[coming] - self.times <= PURCHASE_WITHIN_MS)

    @property
    def purchase_known(self) -> NDArray[np.bool_]:
        """Of which actions the log lasts until PURCHASE_WITHIN_MS later, so that `purchase_soon` is final, (A,).

        The others go whether or not a purchase has come: keeping those with one would leave too many purchases. Of a
        log that is too short for that, the older half stays.
        """
        if not len(self):
            return np.zeros(0, np.bool_)
        middle = np.partition(self.times, (len(self) - 1) // 2)[(len(self) - 1) // 2]
        known: NDArray[np.bool_] = self.times <= max(self.times.max() - PURCHASE_WITHIN_MS, middle)
        return known

    def before(self, cut: int) -> Sequences:
        """What had happened before a time (ms): every user's actions up to the first one at or after it."""
        kept = self.times < cut
        offsets = np.unique(np.concatenate(([0], np.cumsum(kept)))[self.offsets])  # users with nothing are left out
        return Sequences(self.item_keys[kept], self.contexts[kept], self.times[kept], offsets)

    def since(self, cut: int) -> Sequences:
        """What happened at or after a time (ms), without what led to it."""
        kept = self.times >= cut
        offsets = np.unique(np.concatenate(([0], np.cumsum(kept)))[self.offsets])
        return Sequences(self.item_keys[kept], self.contexts[kept], self.times[kept], offsets)

    def users_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Whose the actions at some places (N,) are: numbers of users, (N,)."""
        return np.searchsorted(self.offsets, places, side="right") - 1

    def of_users(self, users: NDArray[np.int64]) -> Sequences:
        """The sequences of some users (rising), whole."""
        starts, sizes = self.offsets[users], np.diff(self.offsets)[users]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        kept = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
        return Sequences(self.item_keys[kept], self.contexts[kept], self.times[kept], offsets)

    def newest(self, share: float) -> int:
        """The time (ms) from which on about `share` of the actions lie."""
        return int(np.quantile(self.times, 1.0 - share, method="higher"))


def sequences_of(actions: Actions) -> Sequences:
    """The sequences of a log; the first action of each user in it counts as the user's first."""
    codes: dict[str, int] = {}
    users = np.array([codes.setdefault(user, len(codes)) for user in actions.users], np.int64)
    return grouped(actions, users)


def grouped(actions: Actions, users: NDArray[np.int64]) -> Sequences:
    """The sequences of users 0, 1, …, given with each of the actions, (N,); ids are not looked at."""
    unknown = np.full(len(users), NO_TIME)
    clocks, _ = user_clocks(users, actions.times, unknown, np.ones(len(users), np.bool_))
    contexts = contexts_of(replace(actions, times=clocks), users, unknown, np.zeros(len(users), np.uint64))
    order = np.argsort(users, kind="stable")
    return Sequences(
        item_keys=actions.item_keys[order],
        contexts=contexts[order],
        times=clocks[order],
        offsets=np.concatenate(([0], np.cumsum(np.bincount(users)))).astype(np.int64),
    )


def joined(parts: Sequence[Sequences]) -> Sequences:
    """The sequences of several groups of users, one after the other."""
    if len(parts) == 1:
        return parts[0]
    begins = np.cumsum([0, *(len(part) for part in parts)])
    ends = [begin + part.offsets[1:] for begin, part in zip(begins, parts, strict=False)]
    return Sequences(
        item_keys=np.concatenate([part.item_keys for part in parts]),
        contexts=np.concatenate([part.contexts for part in parts]),
        times=np.concatenate([part.times for part in parts]),
        offsets=np.concatenate([np.zeros(1, np.int64), *ends]),
    )


def frequent_items(actions: Actions, *, least: int = 1, most: int = 1_000_000) -> list[str]:
    """Ids of the `most` items with the most actions and at least `least`, in order of first appearance."""
    return most_frequent(Counter(filter(None, actions.items)), least=least, most=most)


def most_frequent(counts: Counter[str], *, least: int = 1, most: int = 1_000_000) -> list[str]:
    """As `frequent_items`, of items in order of first appearance with their actions."""
    kept = {item for item, count in counts.most_common(most) if count >= least}
    return [item for item in counts if item in kept]
