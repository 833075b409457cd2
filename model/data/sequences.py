"""Sequences of users: a log of actions, grouped by user, with the context of each action.

Shapes: N actions of a log, A actions of all sequences, U users.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import contexts_of, types_of
from model.data.events import (
    NO_TIME,
    PURCHASE,
    PURCHASE_HORIZON,
    PURCHASE_WITHIN_MS,
    Actions,
    on_wanted_items,
    text_hashes,
)
from model.data.price_bins import NO_BINS, PriceBins
from model.data.query_table import QueryTable, joined_tables
from model.data.user_clocks import user_clocks


@dataclass(frozen=True, slots=True)
class Sequences:
    """The actions of U users, one user after the other, each user's in log order. It is an `EventLog` in one part."""

    item_keys: NDArray[np.uint64]  # (A,)
    contexts: NDArray[np.uint32]  # (A,)
    times: NDArray[np.int64]  # (A,) ms or NO_TIME; never falling within a user, so a cut in time is one in order
    continues: NDArray[np.bool_]  # (A,) whether it continues the event of the action before; a user's first never does
    offsets: NDArray[np.int64]  # (U + 1,)
    queries: QueryTable = field(default_factory=QueryTable)  # the words of the searches, and perhaps of others
    bins: PriceBins = NO_BINS  # which the contexts have their prices in
    user_keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))  # (U,) by default numbers

    def __post_init__(self) -> None:
        users = len(self.offsets) - 1
        if len(self.user_keys) != users:
            object.__setattr__(self, "user_keys", np.arange(1, users + 1, dtype=np.uint64))

    def __len__(self) -> int:
        return len(self.item_keys)

    @property
    def room(self) -> int:
        """Returns no limit: all actions are in memory already. See `EventLog.room`."""
        return sys.maxsize

    @property
    def part_count(self) -> int:
        """Returns 1; see `EventLog.part_count`."""
        return 1

    def part(self, _number: int) -> Sequences:
        """Returns all of it; see `EventLog.part`."""
        return self

    @property
    def span(self) -> tuple[int, int]:
        """The oldest and the newest known time (ms) of an action; both 0 without any."""
        return known_span(self.times) or (0, 0)

    @property
    def event_count(self) -> int:
        """The number of events; each has one action or several."""
        return len(self) - int(self.continues.sum())

    @property
    def types(self) -> NDArray[np.uint8]:
        """The type codes, (A,)."""
        return types_of(self.contexts)

    @property
    def ends_event(self) -> NDArray[np.bool_]:
        """Whether each action is the last one of its event, (A,): only these are followed by a prediction."""
        ends = np.ones(len(self), np.bool_)
        ends[:-1] = ~self.continues[1:]
        return ends

    @property
    def has_next(self) -> NDArray[np.bool_]:
        """Whether another event of the user comes right after each action, (A,)."""
        has_next = self.ends_event
        has_next[self.offsets[1:] - 1] = False
        return has_next

    def next_actions_from(self, cut: int | None = None) -> NDArray[np.int64]:
        """Returns the indices (N,), rising, of actions at or after `cut` that begin another event of their user.

        `cut` is in ms; None: of any time. Only these can be predicted: nothing comes before a user's first action, and
        an event is known as a whole, so that none of its actions is predicted from another one.
        """
        indices: NDArray[np.int64] = np.flatnonzero(self.has_next) + 1
        return indices if cut is None else indices[self.times[indices] >= cut]

    def targets_from(self, cut: int | None = None) -> NDArray[np.int64]:
        """Returns the indices (N,), rising, of the targets of training and evaluation.

        This is the definition of a target: an action on an item, at or after `cut` (ms; None: of any time), that is
        the first of its event and follows another action of its user, whatever its type and on whichever side of the
        cut. What somebody takes out of the basket or returns is nothing to recommend to them: `remove` is no target.
        """
        indices = self.next_actions_from(cut)
        wanted: NDArray[np.int64] = indices[on_wanted_items(self.types[indices])]
        return wanted

    @property
    def purchase_soon(self) -> NDArray[np.bool_]:
        """Whether a purchase is among the user's next PURCHASE_HORIZON events and within PURCHASE_WITHIN_MS, (A,).

        A user who left without buying counts as one who did not buy. An action inside an event has no label, as no
        prediction follows it, and for the newest actions it is not final yet: see `ends_event` and `purchase_known`.
        """
        bought = np.where(self.types == PURCHASE, np.arange(len(self)), len(self))
        coming = np.minimum.accumulate(np.append(bought, len(self))[::-1])[::-1][1:]  # the first purchase after each
        ends = np.repeat(self.offsets[1:], np.diff(self.offsets))
        events, times = np.cumsum(np.append(~self.continues, True)), np.append(self.times, 0)
        soon: NDArray[np.bool_] = self.ends_event & (coming < ends) & (events[coming] - events[:-1] <= PURCHASE_HORIZON)
        return soon & (times[coming] - PURCHASE_WITHIN_MS <= self.times)  # so that an unknown time is before all others

    @property
    def purchase_known(self) -> NDArray[np.bool_]:
        """Whether the log goes on for PURCHASE_WITHIN_MS after each action, so that `purchase_soon` is final, (A,).

        For the others it is not known, even where a purchase has come: counting only these would make purchases too
        frequent. In a log that is too short for that, the older half counts as known.
        """
        if not len(self):
            return np.zeros(0, np.bool_)
        middle = np.partition(self.times, (len(self) - 1) // 2)[(len(self) - 1) // 2]
        known: NDArray[np.bool_] = self.times <= max(self.times.max() - PURCHASE_WITHIN_MS, middle)
        return known

    def before(self, cut: int) -> Sequences:
        """Returns what happened before a time (ms): every user's actions up to the first one at or after it."""
        return self.where(self.times < cut)

    def since(self, cut: int) -> Sequences:
        """Returns what happened at or after a time (ms), without what led to it."""
        return self.where(self.times >= cut)

    def where(self, wanted: NDArray[np.bool_]) -> Sequences:
        """Returns the wanted actions (A,), of each user a beginning or an end; users without any are left out."""
        ends = np.concatenate(([0], np.cumsum(wanted)))[self.offsets]
        return self._taken(wanted, np.unique(ends), self.user_keys[np.diff(ends) > 0])

    def users_at(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the numbers of the users of some actions, (N,) each."""
        return np.searchsorted(self.offsets, indices, side="right") - 1

    def of_users(self, users: NDArray[np.int64]) -> Sequences:
        """Returns the whole sequences of some users, whose numbers must rise."""
        starts, sizes = self.offsets[users], np.diff(self.offsets)[users]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        indices = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
        return self._taken(indices, offsets, self.user_keys[users])

    def _taken(
        self,
        actions: NDArray[np.bool_] | NDArray[np.int64],
        offsets: NDArray[np.int64],
        user_keys: NDArray[np.uint64],
    ) -> Sequences:
        columns = (self.item_keys[actions], self.contexts[actions], self.times[actions])
        continues = _within_users(self.continues[actions], offsets)
        return Sequences(*columns, continues, offsets, self.queries, self.bins, user_keys)

    def newest(self, share: float) -> int:
        """Returns the time (ms) at or after which about `share` of the actions lie."""
        return int(np.quantile(self.times, 1.0 - share, method="higher"))


def known_span(times: NDArray[np.int64]) -> tuple[int, int] | None:
    """Returns the oldest and the newest of the times (ms) that are known, or None."""
    known = times[times != NO_TIME]
    return (int(known.min()), int(known.max())) if len(known) else None


def sequences_of(actions: Actions, bins: PriceBins = NO_BINS) -> Sequences:
    """Groups a log by user id; the first action of each user in it counts as the user's first."""
    actions = actions.in_sequences()
    codes: dict[str, int] = {}
    users = np.array([codes.setdefault(user, len(codes)) for user in actions.users], np.int64)
    return group_by_user(actions, users, text_hashes(list(codes)), bins)


def group_by_user(
    actions: Actions, users: NDArray[np.int64], user_keys: NDArray[np.uint64], bins: PriceBins = NO_BINS
) -> Sequences:
    """Groups actions that enter sequences by `users` (N,), the numbers 0, 1, … of their users; ids do not matter.

    `user_keys` (U,) are the users', by number.
    """
    unknown = np.full(len(users), NO_TIME)
    clocks, _ = user_clocks(users, actions.times, unknown, np.ones(len(users), np.bool_))
    contexts = contexts_of(replace(actions, times=clocks), users, unknown, np.zeros(len(users), np.uint64), bins)
    order = np.argsort(users, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(np.bincount(users)))).astype(np.int64)
    return Sequences(
        item_keys=actions.item_keys[order],
        contexts=contexts[order],
        times=clocks[order],
        continues=_within_users(actions.lines[order] > 0, offsets),
        offsets=offsets,
        queries=QueryTable(actions.queries),
        bins=bins,
        user_keys=user_keys,
    )


def concatenate_sequences(groups: Sequence[Sequences]) -> Sequences:
    """Joins the sequences of several groups of users, one after the other."""
    if len(groups) == 1:
        return groups[0]
    begins = np.cumsum([0, *(len(group) for group in groups)])
    ends = [begin + group.offsets[1:] for begin, group in zip(begins, groups, strict=False)]
    return Sequences(
        item_keys=np.concatenate([group.item_keys for group in groups]),
        contexts=np.concatenate([group.contexts for group in groups]),
        times=np.concatenate([group.times for group in groups]),
        continues=np.concatenate([group.continues for group in groups]),
        offsets=np.concatenate([np.zeros(1, np.int64), *ends]),
        queries=joined_tables([group.queries for group in groups]),
        bins=groups[0].bins,
        user_keys=np.concatenate([group.user_keys for group in groups]),
    )


def _within_users(continues: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Lets the first action of each user, of whose event the beginning may be missing, begin one; changes (A,)."""
    continues[offsets[:-1]] = False
    return continues


def frequent_items(actions: Actions, *, least: int = 1, most: int = 1_000_000) -> list[str]:
    """Returns the ids of the `most` items with the most actions, at least `least`, in order of first appearance."""
    return most_frequent(Counter(filter(None, actions.items)), least=least, most=most)


def most_frequent(counts: Counter[str], *, least: int = 1, most: int = 1_000_000) -> list[str]:
    """Does what `frequent_items` does, from the actions of each item, in order of first appearance."""
    frequent = {item for item, count in counts.most_common(most) if count >= least}
    return [item for item in counts if item in frequent]
