"""The last actions of the users of a batch, for each answer of it: up to its own event and nothing after it.

Shapes: M answers, B of them to events that are applied (the others repeat an event), U users, W actions of a window,
A actions in all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import group_starts
from model.data.recent import RECENT, Recent, catalogue_items
from model.data.vocabulary import Vocabulary
from model.state.history_rings import Histories


def recent_actions(
    vocabulary: Vocabulary,
    histories: Histories,
    slots: NDArray[np.int64],
    applied: NDArray[np.bool_],
    ranks: NDArray[np.int64],
    item_keys: NDArray[np.uint64],
    contexts: NDArray[np.uint32],
) -> Recent:
    """What the users in `slots` (M,) did last at each answer; of the applied events, how many of the same user come
    before it, `ranks`, and their `item_keys` and `contexts` (B,).

    `histories` do not have these events yet. However the log falls into batches, an answer sees as many actions.
    """
    window = min(RECENT, histories.length)
    users, user = np.unique(slots, return_inverse=True)
    old_keys, old_contexts, old = histories.gather(users, window)
    new = np.bincount(user[applied], minlength=len(users))
    firsts = np.cumsum(old + new) - new - old
    steps, fresh = np.arange(window), user[applied]
    kept = steps < old[:, None]
    places = np.concatenate(((firsts[:, None] + steps)[kept], (firsts + old)[fresh] + ranks))
    flat_keys, flat_contexts = np.empty(len(places), np.uint64), np.empty(len(places), np.uint32)
    flat_keys[places] = np.concatenate((old_keys[kept], item_keys))
    flat_contexts[places] = np.concatenate((old_contexts[kept], contexts))
    stops = (firsts + old)[user] + (ranks + 1 if applied.all() else _applied_so_far(user, applied))
    items = catalogue_items(vocabulary, flat_keys, flat_contexts)
    return Recent(items, flat_contexts, np.maximum(firsts[user], stops - window), stops)


def _applied_so_far(user: NDArray[np.int64], applied: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many events of the same user up to each one (M,), itself included, are applied."""
    order = np.argsort(user, kind="stable")
    counts = np.cumsum(applied[order])
    first = np.flatnonzero(group_starts(user[order]))
    before: NDArray[np.int64] = counts[first] - applied[order][first]
    found = np.empty(len(user), np.int64)
    found[order] = counts - before[user[order]]
    return found
