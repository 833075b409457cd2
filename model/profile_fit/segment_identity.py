"""Which new segments are those of before: the ones that most users have in common.

Shapes: N users, G new and B old segments.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

SAME: Final = 0.25  # of the users of either of two segments are in both: they are the same


class Identity(NamedTuple):
    """The ids of new segments, and what became of the old ones."""

    ids: list[int]  # (G,)
    next_id: int
    born: list[int]  # indices of new segments that are like none before
    split: dict[int, int]  # of these, those whose users come from an old one that goes on: its id
    gone: list[int]  # ids of old segments


def matched(old: NDArray[np.int64], old_ids: list[int], new: NDArray[np.int64], count: int, next_id: int) -> Identity:
    """Matches segments by the users (N,) who are in them: `old` and `new` are indices of segments.

    `next_id` is the id of the next segment that is born.
    """
    common = np.zeros((count, len(old_ids)), np.int64)
    np.add.at(common, (new, old), 1)
    either = common.sum(1, keepdims=True) + common.sum(0, keepdims=True) - common
    overlap = common / np.maximum(either, 1)
    rows, columns = linear_sum_assignment(-overlap)
    same = {int(row): int(column) for row, column in zip(rows, columns, strict=True) if overlap[row, column] >= SAME}
    ids, born, split = [0] * count, [], {}
    for group in range(count):
        if group in same:
            ids[group] = old_ids[same[group]]
            continue
        ids[group], next_id = next_id, next_id + 1
        born.append(group)
        source = int(common[group].argmax())
        if 2 * common[group, source] > common[group].sum() and source in same.values():
            split[group] = old_ids[source]
    gone = [old_ids[column] for column in range(len(old_ids)) if column not in same.values()]
    return Identity(ids, next_id, born, split, gone)


def in_words(identity: Identity, names: list[str]) -> list[str]:
    """Says what changed, for people; `names` (G,) are of the new segments."""
    return [
        *(
            f"{identity.ids[group]} ({names[group]}) is new"
            + (f", split off from {identity.split[group]}" if group in identity.split else "")
            for group in identity.born
        ),
        *(f"{gone} is gone" for gone in identity.gone),
    ]
