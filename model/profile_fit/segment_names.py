"""Names segments in words, from what sets their users apart from all others.

A word is only said where it is true: the mean of the segment's users lies that side of the mean of all, by a part of
the spread. Words are added until no two names are the same.
Shapes: G segments, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.profile.segment_features import NUM_SEGMENT_FEATURES, SEGMENT_FEATURES

# Below and above the mean; "": nothing is said of it.
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "visits": ("few visits", "returning"),
    "gap": ("comes back soon", "stays away for long"),
    "actions per visit": ("short visits", "long visits"),
    "purchases": ("buys little", "buys often"),
    "look share": ("", "mostly looks"),
    "search share": ("", "searches"),
    "cart share": ("", "collects in carts and lists"),
    "remove share": ("", "gives back"),
    "repeat share": ("moves from item to item", "stays with an item"),
    "price band": ("low price band", "high price band"),
}
NOT_BOUGHT: Final = "has not bought"
AVERAGE: Final = "like most"
Floats = NDArray[np.float64]

LEAST: Final = 0.4  # of the spread, that a mean differs where it is said
_UNKNOWN: Final = 0.5  # of a segment's users: nothing is said of a feature that is not known of so many
_WORDS: Final = 3  # of a name, unless it takes more to tell two apart


def names_of(
    features: Floats, groups: NDArray[np.int64], categories: Sequence[str | None], count_of_groups: int
) -> list[str]:
    """Returns a name for each of G groups, from the features (N, F) of users and the groups (N,) that they are in.

    `categories` are the names of those whose shares are the last features, None where nobody knows it.
    """
    words = [_words(features, groups == group, categories) for group in range(count_of_groups)]
    taken = [min(_WORDS, len(of)) for of in words]
    names = _joined(words, taken)
    while len(set(names)) < len(names):
        doubled = [group for group in range(len(names)) if names.count(names[group]) > 1]
        longer = [group for group in doubled if taken[group] < len(words[group])]
        if not longer:
            return _numbered(names)
        for group in longer:
            taken[group] += 1
        names = _joined(words, taken)
    return names


def _joined(words: Sequence[Sequence[str]], taken: Sequence[int]) -> list[str]:
    return [", ".join(of[:most]) or AVERAGE for of, most in zip(words, taken, strict=True)]


def _numbered(names: Sequence[str]) -> list[str]:
    """Tells groups apart that no word does."""
    numbers: dict[str, count[int]] = {}
    return [f"{name} ({next(numbers.setdefault(name, count(1)))})" if names.count(name) > 1 else name for name in names]


def _words(features: Floats, members: NDArray[np.bool_], categories: Sequence[str | None]) -> list[str]:
    """Returns what is true of the members (N,), what sets them apart most first."""
    everyone, theirs = _mean(features), _mean(features[members])
    spread = np.sqrt(_mean(np.square(features - everyone)))
    known = (spread > 0) & (np.isnan(features[members]).mean(0) < _UNKNOWN)
    apart = np.where(known, theirs - everyone, 0) / np.where(known, spread, 1)
    said = [(abs(far), word) for index, far in enumerate(apart.tolist()) if (word := _word(index, far, categories))]
    bought = SEGMENT_FEATURES.index("purchases")
    if theirs[bought] == 0 and everyone[bought] > 0:
        little, _ = WORDS["purchases"]
        said = [(far, word) for far, word in said if word != little]
        said.append((max(abs(apart[bought]), LEAST), NOT_BOUGHT))
    return [word for _, word in sorted(said, key=lambda each: -each[0])]


def _mean(features: Floats) -> Floats:
    """Returns means (F,) of what is known; 0 where nothing is."""
    known = ~np.isnan(features)
    means: Floats = np.where(known, features, 0).sum(0) / np.maximum(known.sum(0), 1)
    return means


def _word(index: int, apart: float, categories: Sequence[str | None]) -> str | None:
    """Returns what to say of a feature that differs by so many spreads; None or "": nothing."""
    if not abs(apart) >= LEAST:
        return None
    if index >= NUM_SEGMENT_FEATURES:
        return categories[index - NUM_SEGMENT_FEATURES] if apart > 0 else None
    return WORDS[SEGMENT_FEATURES[index]][int(apart > 0)]
