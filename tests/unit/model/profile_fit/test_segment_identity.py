"""Segments keep their ids where most users stay together."""

from __future__ import annotations

import numpy as np

from model.profile_fit.segment_identity import in_words, matched


def users(*counts: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """So many users who were in one segment and are in another."""
    rows = [(old, new) for old, new, count in counts for _ in range(count)]
    return np.array([old for old, _ in rows]), np.array([new for _, new in rows])


def test_segments_in_another_order_keep_their_ids() -> None:
    old, new = users((0, 2, 50), (1, 0, 40), (2, 1, 30), (0, 1, 5))
    identity = matched(old, [4, 7, 9], new, 3, 12)
    assert identity.ids == [7, 9, 4]
    assert (identity.born, identity.split, identity.gone, identity.next_id) == ([], {}, [], 12)


def test_one_that_splits_goes_on_in_its_larger_part() -> None:
    old, new = users((0, 0, 60), (0, 2, 40), (1, 1, 50))
    identity = matched(old, [1, 2], new, 3, 3)
    assert identity.ids == [1, 2, 3]
    assert identity.split == {2: 1}
    assert in_words(identity, ["a", "b", "c"]) == ["3 (c) is new, split off from 1"]


def test_what_is_like_none_before_is_new_and_what_nobody_is_in_is_gone() -> None:
    old, new = users((0, 0, 60), *((source, 1, 10) for source in (1, 2, 3, 4)), *((n, 2, 20) for n in (1, 2, 3, 4)))
    identity = matched(old, [1, 2, 3, 4, 5], new, 3, 6)
    assert identity.ids[0] == 1
    assert len(identity.born) + len(identity.gone) == 6 - 0 - 2 * (identity.ids[1] < 6) - 2 * (identity.ids[2] < 6)
    assert identity.next_id == 6 + len(identity.born)
    words = in_words(identity, ["a", "b", "c"])
    assert len(words) == len(identity.born) + len(identity.gone)
