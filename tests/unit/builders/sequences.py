"""Small sequences by hand and at random, for the tests of everything that ranks."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from model.data.events import Event, actions_of, item_key
from model.data.sequences import Sequences, sequences_of
from model.evaluation.ranking import Holdout


def sequences(*users: str, begin: int = 0) -> Sequences:
    """Users one after the other, a letter for each item they viewed, "?" for a search; all in rising time."""
    rows = [
        Event(user_id=str(user), type="search" if item == "?" else "view", item_id=item, query="shoes")
        for user, items in enumerate(users)
        for item in items
    ]
    return sequences_of(actions_of(rows, [begin + 1000 * n for n in range(len(rows))]))


def examples(*users: str) -> Holdout:
    """Of each user the last action is to be foreseen."""
    whole = sequences(*users)
    return Holdout(whole, whole.offsets[1:] - 1)


def random_users(seed: int, users: int = 60, items: str = "abcdefghijklmnopqrstuvwxyz0123456789") -> list[str]:
    """Users of 2 to 9 actions, some items far more popular than others, some actions searches."""
    rng = random.Random(seed)
    letters = items + "?"

    def letter() -> str:
        return letters[min(rng.randrange(len(letters)), rng.randrange(len(letters)))]

    return ["".join(letter() for _ in range(rng.randrange(1, 9))) + rng.choice(items) for _ in range(users)]


def names(item_keys: Sequence[int], items: str = "abcdefghijklmnopqrstuvwxyz0123456789") -> str:
    """A list of objects as letters; what is empty is left out."""
    letters = {item_key(item): item for item in items}
    return "".join(letters[int(item)] for item in item_keys if item)


def rows(*texts: str, width: int = 20) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    """Lists of objects, 0 where there is no more."""
    found = np.zeros((len(texts), width), np.uint64)
    for place, text in enumerate(texts):
        found[place, : len(text)] = [item_key(item) for item in text]
    return found


def users_of(result: Sequences) -> Counter[tuple[tuple[int, int, int, bool], ...]]:
    """The sequence of each user, in no order."""
    columns = (result.item_keys, result.contexts, result.times, result.continues)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return Counter(tuple(rows[low:high]) for low, high in pairwise(result.offsets.tolist()))
