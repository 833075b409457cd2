"""What a round of training asks of a whole log, answered in one pass: a log on disk is read once for all of it.

Shapes: A actions, I items, N actions whose times stand for those of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.event_log import EventLog, parts, sampling_step
from model.data.events import SEARCH, item_key
from model.data.sequences import Sequences

_NEVER: Final = np.iinfo(np.int64).max  # ms: when an item was first seen that the log does not have


@dataclass(frozen=True, slots=True)
class DatedItems:
    """Items, and since when a log knows each of them."""

    ids: Sequence[str]  # of I items, in order of first appearance
    first_seen: NDArray[np.int64]  # (I,) ms: the time of each item's first action

    def before(self, cut: int) -> DatedItems:
        """Returns the items that had an action before a time (ms), in the same order."""
        earlier = np.flatnonzero(self.first_seen < cut)
        return DatedItems([self.ids[index] for index in earlier.tolist()], self.first_seen[earlier])


@dataclass(frozen=True, slots=True)
class LogSummary:
    """Size, time, items and content of a log."""

    events: int
    users: int
    span: tuple[int, int]  # the oldest and the newest known time (ms) of an action; both 0 without any
    items: NDArray[np.uint64]  # (I,) keys, rising
    first_seen: NDArray[np.int64]  # (I,) ms: the time of each item's first action
    last_seen: NDArray[np.int64]  # (I,) ms: the time of its last one, NO_TIME where none of its actions has one
    times: NDArray[np.int64]  # (N,) ms, rising: those of `sampled_times`
    newest_targets: NDArray[np.int64]  # ms: the newest times of targets: see `Sequences.targets_from`
    digest: str  # SHA-256 of all actions, in hex
    _exact_times: NDArray[np.int64]  # (A,) of a log in memory, else `times`

    def newest(self, share: float) -> int:
        """Returns the time (ms) from which on about `share` of the actions lie, as the log's own `newest` does."""
        return int(np.quantile(self._exact_times, 1.0 - share, method="higher"))

    def items_before(self, cut: int) -> NDArray[np.uint64]:
        """Returns the keys, rising, of the items that had an action before a time (ms)."""
        before: NDArray[np.uint64] = self.items[self.first_seen < cut]
        return before

    def last_seen_of(self, item_keys: NDArray[np.uint64], otherwise: int) -> NDArray[np.int64]:
        """Returns when items (N,) were last seen in the log, in ms; `otherwise` for those that it does not have."""
        if not len(self.items):
            return np.full(len(item_keys), otherwise)
        indices = np.minimum(np.searchsorted(self.items, item_keys), len(self.items) - 1)
        return np.where(self.items[indices] == item_keys, self.last_seen[indices], otherwise)

    def dated(self, ids: Sequence[str]) -> DatedItems:
        """Looks up since when the log knows some items; one that it does not have is dated after all others."""
        keys = np.array([item_key(item) for item in ids], np.uint64)
        indices = np.minimum(np.searchsorted(self.items, keys), max(0, len(self.items) - 1))
        if not len(self.items):
            return DatedItems(ids, np.full(len(keys), _NEVER))
        return DatedItems(ids, np.where(self.items[indices] == keys, self.first_seen[indices], _NEVER))


def summarise(log: EventLog, *, targets: int = 0) -> LogSummary:
    """Reads each part of the log once. Of the targets' times only the newest, so many as `targets`, are kept."""
    step, events, users, digest = sampling_step(log), 0, 0, sha256()
    samples = list[NDArray[np.int64]]()
    items, newest = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    first_seen, last_seen = newest, newest
    for part in parts(log):
        events += part.event_count
        users += len(part.offsets) - 1
        samples.append(part.times[::step].copy())  # a view would keep all of its part in memory
        on_item = part.types != SEARCH
        keys, seen = part.item_keys[on_item], part.times[on_item]
        items, first_seen, last_seen = _seen(
            np.concatenate((items, keys)), np.concatenate((first_seen, seen)), np.concatenate((last_seen, seen))
        )
        newest = np.sort(np.concatenate((newest, part.times[part.targets_from()])))[-targets:] if targets else newest
        for column in (part.item_keys, part.contexts, part.times, part.continues, part.offsets):
            digest.update(np.ascontiguousarray(column).data)
    times = np.sort(np.concatenate(samples))
    return LogSummary(
        events=events,
        users=users,
        span=log.span,
        items=items,
        first_seen=first_seen,
        last_seen=last_seen,
        times=times,
        newest_targets=newest,
        digest=digest.hexdigest(),
        _exact_times=log.times if isinstance(log, Sequences) else times,
    )


def _seen(
    item_keys: NDArray[np.uint64], firsts: NDArray[np.int64], lasts: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the distinct keys, rising, and the earliest of the first and the latest of the last times of each."""
    items, indices = np.unique(item_keys, return_inverse=True)
    earliest, latest = np.full(len(items), np.iinfo(np.int64).max), np.full(len(items), np.iinfo(np.int64).min)
    np.minimum.at(earliest, indices, firsts)
    np.maximum.at(latest, indices, lasts)
    return items, earliest, latest
