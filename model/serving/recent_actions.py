"""The last actions of the users of a batch, for each answer of it: up to its own event and nothing after it.

Shapes: M answers, B of them to events that are applied (the others repeat an event), A actions in all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.recent import RECENT_LENGTH, RecentActions, catalogue_item
from model.data.user_clocks import begins_group
from model.data.vocabulary import Vocabulary
from model.kernels.compiled import compiled
from model.state.history_rings import Histories, Rings, copy_last, held


class _FreshActions(NamedTuple):
    """The events of a batch, for the compiled loop."""

    order: NDArray[np.int64]  # (M,) sorts the events by slot and then by log
    slots: NDArray[np.int64]  # (M,)
    applied: NDArray[np.bool_]  # (M,)
    item_keys: NDArray[np.uint64]  # (B,)
    contexts: NDArray[np.uint32]  # (B,)


def recent_actions(
    vocabulary: Vocabulary,
    histories: Histories,
    slots: NDArray[np.int64],
    applied: NDArray[np.bool_],
    item_keys: NDArray[np.uint64],
    contexts: NDArray[np.uint32],
) -> RecentActions:
    """The last actions of the users in `slots` (M,) at each answer.

    Of the applied events `item_keys` and `contexts` (B,) say what they are. `histories` do not have these events yet.
    However the log falls into batches, an answer sees as many actions.
    """
    order, window = slots.argsort(kind="stable"), min(RECENT_LENGTH, histories.length)
    fresh = _FreshActions(order, slots, applied, item_keys, contexts)
    return RecentActions(*_collect(vocabulary.table.cells, histories.rings, window, fresh))


@compiled
def _collect(
    cells: NDArray[np.uint64], rings: Rings, window: int, fresh: _FreshActions
) -> tuple[NDArray[np.int32], NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Returns the fields of `RecentActions`; users come in the order of their slots."""
    starts, stops = np.empty(len(fresh.slots), np.int64), np.empty(len(fresh.slots), np.int64)
    size = len(fresh.item_keys)
    for position in range(len(fresh.order)):
        if begins_group(fresh.order, fresh.slots, position):
            size += min(held(rings, fresh.slots[fresh.order[position]]), window)
    keys, contexts = np.empty(size, np.uint64), np.empty(size, np.uint32)
    numbers, count = np.empty(len(fresh.slots), np.int64), 0  # of each applied event among the applied ones
    for n in range(len(fresh.slots)):
        numbers[n] = count
        count += fresh.applied[n]
    first, end = 0, 0  # of the user's actions
    for position in range(len(fresh.order)):
        n = fresh.order[position]
        if begins_group(fresh.order, fresh.slots, position):
            first = end
            end = copy_last(rings, fresh.slots[n], window, keys, contexts, end)
        if fresh.applied[n]:
            keys[end], contexts[end] = fresh.item_keys[numbers[n]], fresh.contexts[numbers[n]]
            end += 1
        starts[n], stops[n] = max(first, end - window), end
    items = np.empty(size, np.int32)
    for n in range(size):
        items[n] = catalogue_item(cells, keys[n], contexts[n])
    return items, contexts, starts, stops, keys
