"""The rules at work in the stream: they learn from every action and answer where the model does not, or beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import unpack_contexts
from model.data.covisits import COVISIT_WINDOW
from model.data.events import EVENT_TYPES, SEARCH, Actions
from model.serving.answers import RANKED, Answers
from model.serving.rules import NO_TYPE, Rules
from model.state.history_rings import Histories

BASELINE = "baseline"


class LiveRules:
    """Rules that learn in log order, and know how often each place of their rankings was right."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._right_at = np.ones(RANKED + 1)  # by place; 0: none. One of each to begin with.

    def follow(
        self,
        actions: Actions,
        slots: NDArray[np.int64],
        applied: NDArray[np.bool_],
        histories: Histories,
        *,
        answer: bool = True,
    ) -> tuple[Answers | None, NDArray[np.uint64]]:
        """Learns from the applied ones of N actions and ranks after each of the N; before they join the histories.

        Returns the answers, unless only the ranking is wanted, and the ranked objects (N, k), zero where there is no
        k-th.
        """
        ranked: list[list[int]] = []
        next_types: list[list[float]] = []
        purchases: list[float] = []
        recents, last_types = _recents(slots, histories)
        types, item_keys = actions.types.tolist(), actions.item_keys.tolist()
        known = [self._rules.names]  # and before an item was dropped in the midst of this batch
        for place, slot in enumerate(slots.tolist()):
            recent, kind = recents[slot], types[place]
            if applied[place]:
                self._rules.learn_type(last_types[slot], kind)
                last_types[slot] = kind
                if kind != SEARCH:
                    self._rules.learn(recent, item_keys[place], actions.items[place])
                    if self._rules.names is not known[-1]:
                        known.append(self._rules.names)
                    recent.insert(0, item_keys[place])
                    del recent[COVISIT_WINDOW:]
            ranked.append(self._rules.rank(recent, RANKED))
            if answer:  # at once: the events behind this one in the batch must not tell what came after it
                next_types.append(self._rules.type_probabilities(last_types[slot]))
                purchases.append(self._rules.purchase_probability(last_types[slot]))
        padded = [row + [0] * (RANKED - len(row)) for row in ranked]
        objects_ranked = np.array(padded, np.uint64).reshape(len(slots), RANKED)
        return self._answers(ranked, known, next_types, purchases) if answer else None, objects_ranked

    def was_right_at(self, places: NDArray[np.int64]) -> None:
        """Takes in where the next items stood in earlier rankings, from 1; 0: nowhere."""
        self._right_at += np.bincount(places, minlength=RANKED + 1)

    def _answers(
        self,
        ranked: list[list[int]],
        known: Sequence[Mapping[int, str]],
        next_types: list[list[float]],
        purchases: list[float],
    ) -> Answers:
        """Answers from rankings of items `known` in some mapping, from probabilities of next types and a purchase."""
        named = dict.fromkeys(item for row in ranked for item in row)
        index = {item: place for place, item in enumerate(named)}
        items = np.full((len(ranked), RANKED), -1, np.int64)
        for place, row in enumerate(ranked):
            items[place, : len(row)] = [index[item] for item in row]
        # Ranked best first, so the shares fall, also where chance let a later place be right more often.
        share = -np.sort(-self._right_at[1:] / self._right_at.sum()).astype(np.float32)
        types = np.array(next_types, np.float32).reshape(len(ranked), len(EVENT_TYPES))
        on_item = types.copy()
        on_item[:, SEARCH] = 0
        on_item /= np.maximum(on_item.sum(1, keepdims=True), 1e-9)
        return Answers(
            version=BASELINE,
            names=[next(names[item] for names in known if item in names) for item in named],
            items=items,
            probabilities=np.where(items >= 0, share, 0).astype(np.float32),
            next_type=types,
            type_given_item=np.repeat(on_item[:, None], RANKED, 1),
            purchase=np.array(purchases, np.float32),
        )


def _recents(slots: NDArray[np.int64], histories: Histories) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Per distinct slot: the objects of its latest actions on items, latest first, and the type of its last one."""
    distinct = np.unique(slots)
    item_keys, contexts, sizes = histories.gather(distinct, min(COVISIT_WINDOW, histories.length))
    types = unpack_contexts(contexts).types
    recents, last_types = {}, {}
    rows = zip(distinct.tolist(), item_keys.tolist(), types.tolist(), sizes.tolist(), strict=True)
    for slot, row, kinds, size in rows:
        recents[slot] = [row[i] for i in range(size - 1, -1, -1) if kinds[i] != SEARCH]
        last_types[slot] = kinds[size - 1] if size else NO_TYPE
    return recents, last_types
