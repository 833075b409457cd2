"""The rules at work in the stream: they learn from every action and answer where the model does not, or beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import types_of
from model.data.covisits import COVISIT_WINDOW
from model.data.events import EVENT_TYPES, SEARCH, Actions
from model.serving.answers import RANKED, Answers
from model.serving.rules import NO_TYPE, Rules
from model.state.history_rings import Histories

BASELINE: Final = "baseline"  # the rules' `model_version` in predictions: their public name


class LiveRules:
    """Rules that learn in log order, and count how often each rank of their answers was right."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._right_at = np.ones(RANKED + 1)  # events by the rank of their item, 0: not ranked; begins with one of each

    @property
    def names(self) -> Mapping[int, str]:
        """The ids of the items that are known, by key."""
        return self._rules.names

    def follow(
        self,
        actions: Actions,
        slots: NDArray[np.int64],
        applied: NDArray[np.bool_],
        histories: Histories,
        *,
        followed: NDArray[np.bool_] | None = None,
        answer: bool = True,
    ) -> tuple[Answers | None, NDArray[np.uint64]]:
        """Learns from the applied ones of N actions, before they join the histories, and ranks after each event of a
        user who is `followed` (N,); by default of everyone.

        Returns the answers, unless only the ranking is wanted, and the keys of the ranked items (E, k), 0 where there
        is no k-th, of the E events of these users.
        """
        ranked: list[list[int]] = []
        next_types: list[list[float]] = []
        purchases: list[float] = []
        recents, last_types = _recents(slots, histories)
        types, item_keys = actions.types.tolist(), actions.item_keys.tolist()
        lines = [*actions.lines.tolist(), 0]
        wanted = [True] * len(slots) if followed is None else followed.tolist()
        names = [self._rules.names]  # and the mappings before items were dropped during this batch
        for n, slot in enumerate(slots.tolist()):
            recent, type_code = recents[slot], types[n]
            if applied[n]:
                if lines[n] == 0:
                    self._rules.learn_type(last_types[slot], type_code)
                last_types[slot] = type_code
                if type_code != SEARCH:
                    self._rules.learn(recent, item_keys[n], actions.items[n])
                    if self._rules.names is not names[-1]:
                        names.append(self._rules.names)
                    recent.insert(0, item_keys[n])
                    del recent[COVISIT_WINDOW:]
            if lines[n + 1] > 0 or not wanted[n]:  # the event goes on
                continue
            ranked.append(self._rules.rank(recent, RANKED))
            if answer:  # at once: what the rules learn from later events of the batch must not show here
                next_types.append(self._rules.type_probabilities(last_types[slot]))
                purchases.append(self._rules.purchase_probability(last_types[slot]))
        padded = [row + [0] * (RANKED - len(row)) for row in ranked]
        ranked_keys = np.array(padded, np.uint64).reshape(len(ranked), RANKED)
        return self._answers(ranked, names, next_types, purchases) if answer else None, ranked_keys

    def recommended(self, recent: Sequence[int], count: int) -> list[str]:
        """Returns the ids of at most so many items that the rules would show now, the best first.

        `recent`: the keys of the user's items, latest first. For the thread in which they learn.
        """
        names = self._rules.names
        return [names[item] for item in self._rules.rank(recent[:COVISIT_WINDOW], count)]

    def count_ranks(self, ranks: NDArray[np.int64]) -> None:
        """Counts the ranks of next items in earlier answers, from 1; 0: not among the ranked."""
        self._right_at += np.bincount(ranks, minlength=RANKED + 1)

    def _answers(
        self,
        ranked: list[list[int]],
        names: Sequence[Mapping[int, str]],
        next_types: list[list[float]],
        purchases: list[float],
    ) -> Answers:
        """Answers from rankings of items that some mapping names, and probabilities of next types and a purchase."""
        distinct = dict.fromkeys(item for row in ranked for item in row)
        indices = {item: index for index, item in enumerate(distinct)}
        items = np.full((len(ranked), RANKED), -1, np.int64)
        for n, row in enumerate(ranked):
            items[n, : len(row)] = [indices[item] for item in row]
        # Ranked best first, so the shares fall, also where chance let a later rank be right more often.
        share = -np.sort(-self._right_at[1:] / self._right_at.sum()).astype(np.float32)
        types = np.array(next_types, np.float32).reshape(len(ranked), len(EVENT_TYPES))
        on_item = types.copy()
        on_item[:, SEARCH] = 0
        on_item /= np.maximum(on_item.sum(1, keepdims=True), 1e-9)
        return Answers(
            version=BASELINE,
            names=[next(mapping[item] for mapping in names if item in mapping) for item in distinct],
            items=items,
            probabilities=np.where(items >= 0, share, 0).astype(np.float32),
            next_type=types,
            type_given_item=np.repeat(on_item[:, None], RANKED, 1),
            purchase=np.array(purchases, np.float32),
        )


def _recents(slots: NDArray[np.int64], histories: Histories) -> tuple[dict[int, list[int]], dict[int, int]]:
    """Per distinct slot: the keys of its latest items, latest first, and the type of its last action."""
    distinct = list(dict.fromkeys(slots.tolist()))
    item_keys, contexts, sizes = histories.gather(np.array(distinct, np.int64), min(COVISIT_WINDOW, histories.length))
    recents, last_types = {}, {}
    rows = zip(distinct, item_keys.tolist(), types_of(contexts).tolist(), sizes.tolist(), strict=True)
    for slot, row, codes, size in rows:
        recents[slot] = [row[i] for i in range(size - 1, -1, -1) if codes[i] != SEARCH]
        last_types[slot] = codes[size - 1] if size else NO_TYPE
    return recents, last_types
