"""The last actions of the users of a batch, for each answer of it: up to its own event and nothing after it.

Shapes: M answers, B of them to events that are applied (the others repeat an event), U users, W actions of a window,
A actions in all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import group_starts
from model.data.recent import RECENT_LENGTH, RecentActions, catalogue_items
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
) -> RecentActions:
    """The last actions of the users in `slots` (M,) at each answer.

    Of the applied events: `ranks` counts those of the same user before each, `item_keys` and `contexts` (B,) say what
    they are. `histories` do not have these events yet. However the log falls into batches, an answer sees as many
    actions.
    """
    window = min(RECENT_LENGTH, histories.length)
    users, user = np.unique(slots, return_inverse=True)
    old_keys, old_contexts, old = histories.gather(users, window)
    new = np.bincount(user[applied], minlength=len(users))
    firsts = np.cumsum(old + new) - new - old
    steps, fresh = np.arange(window), user[applied]
    filled = steps < old[:, None]
    indices = np.concatenate(((firsts[:, None] + steps)[filled], (firsts + old)[fresh] + ranks))
    flat_keys, flat_contexts = np.empty(len(indices), np.uint64), np.empty(len(indices), np.uint32)
    flat_keys[indices] = np.concatenate((old_keys[filled], item_keys))
    flat_contexts[indices] = np.concatenate((old_contexts[filled], contexts))
    stops = (firsts + old)[user] + (ranks + 1 if applied.all() else _applied_so_far(user, applied))
    items = catalogue_items(vocabulary, flat_keys, flat_contexts)
    return RecentActions(items, flat_contexts, np.maximum(firsts[user], stops - window), stops)


def _applied_so_far(user: NDArray[np.int64], applied: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Counts for each event (M,) the applied events of its user up to it, itself included."""
    order = np.argsort(user, kind="stable")
    counts = np.cumsum(applied[order])
    first = np.flatnonzero(group_starts(user[order]))
    before: NDArray[np.int64] = counts[first] - applied[order][first]
    so_far = np.empty(len(user), np.int64)
    so_far[order] = counts - before[user[order]]
    return so_far
