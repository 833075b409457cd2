"""What users like, counted with each action of theirs: a column of `UserStates`, and copies for the answers.

Shapes: S slots, N actions, E events, F fields (categories, brands).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.events import Actions
from model.kernels.compiled import compiled
from model.profile.counting import (
    CountedActions,
    Counts,
    add_older,
    count_batch,
    count_contexts,
    no_counts,
)
from model.profile.preference_section import MISSING, read, written
from model.profile.price_bands import NO_BANDS, BandTable
from model.state.history_rings import Histories, Rings, copy_last, grown, held
from model.state.sections import PREFERENCES
from model.state.user_columns import Sections


@dataclass(frozen=True, slots=True)
class LikedEvents:
    """What new events say of what their users like."""

    after: Counts  # (E, ...) what is counted of the user after each event
    turned_to: NDArray[np.uint64]  # (E, F) category and brand of the event's first action; 0: not known


class PreferenceCounters:
    """The counts of all users in memory: see `UserColumns`."""

    tag = PREFERENCES

    def __init__(self) -> None:
        self.counts = no_counts(0)

    @property
    def nbytes(self) -> int:
        """The bytes of the counts."""
        return sum(array.nbytes for array in self.counts)

    def grow(self, slots: int) -> None:
        """See `UserColumns`."""
        keys, weights, bands, currencies = self.counts
        self.counts = Counts(grown(keys, slots), grown(weights, slots), grown(bands, slots), grown(currencies, slots))

    def clear(self, slots: NDArray[np.int64]) -> None:
        """See `UserColumns`."""
        for array in self.counts:
            array[slots] = 0

    def sections(self, slots: NDArray[np.int64], histories: Histories) -> Sections:
        """See `UserColumns`."""
        return written(self.counts, slots, histories.counts[slots])

    def restore(self, slots: NDArray[np.int64], contents: Sequence[bytes], histories: Histories) -> None:
        """See `UserColumns`: what a worker without these counts did not count is counted from the last actions."""
        actions = read(contents, slots, self.counts)
        longer = actions > histories.counts[slots]  # the sequence was given away meanwhile
        self.clear(slots[longer])
        actions[longer] = MISSING
        _catch_up(self.counts, slots, actions, histories.rings)

    def take_in(self, slot: int, content: bytes, contexts: NDArray[np.uint32]) -> None:
        """See `UserColumns`."""
        older, only = no_counts(1), np.zeros(1, np.int64)
        if read([content], only, older)[0] == MISSING:
            _count_some(older, contexts)
        add_older(self.counts, slot, older, 0)

    def count(
        self, slots: NDArray[np.int64], actions: Actions, applied: NDArray[np.bool_], bands: BandTable = NO_BANDS
    ) -> LikedEvents:
        """Counts the applied ones of new actions (N,) of users in slots (N,), in log order, with prices in bands.

        Returns what is counted of the user after each event, and what it turned to.
        """
        keys = keys_of(actions)
        lines = actions.lines
        ends_event = np.append(lines[1:] == 0, True) if len(lines) else np.zeros(0, np.bool_)
        after = no_counts(int(ends_event.sum()))
        count_batch(
            self.counts,
            CountedActions(
                slots=slots,
                applied=applied,
                ends_event=ends_event,
                types=actions.types,
                keys=keys,
                bands=bands.bands_of(actions),
                currencies=actions.currencies,
            ),
            after,
        )
        return LikedEvents(after, keys[lines == 0])


def keys_of(actions: Actions) -> NDArray[np.uint64]:
    """Returns the keys (N, F) of the categories and brands of actions, or their buckets where only these are known."""
    return np.stack(
        (
            np.where(actions.category_keys != 0, actions.category_keys, actions.categories),
            np.where(actions.brand_keys != 0, actions.brand_keys, actions.brands),
        ),
        1,
    )


@compiled
def _count_some(counts: Counts, contexts: NDArray[np.uint32]) -> None:
    count_contexts(counts, 0, contexts)


@compiled
def _catch_up(counts: Counts, slots: NDArray[np.int64], actions: NDArray[np.int64], rings: Rings) -> None:
    """Counts the actions that the rings of slots (N,) have behind the first `actions` (N,); MISSING: all of them."""
    length = rings.contexts.shape[1]
    item_keys, contexts = np.empty(length, np.uint64), np.empty(length, np.uint32)
    for n in range(len(slots)):
        missing = rings.counts[slots[n]] - actions[n] if actions[n] >= 0 else held(rings, slots[n])
        if missing > 0:
            size = copy_last(rings, slots[n], min(missing, length), item_keys, contexts, 0)
            count_contexts(counts, slots[n], contexts[:size])
