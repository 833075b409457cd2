"""What is learned from and what is asked, for both kinds of files."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.contexts import unpack_contexts
from model.errors import TooLittleData
from model.evaluation.split import ACTION_MS, FIRST_SESSION_MS, SESSION_MS, split_log, split_sessions, validation
from tests.unit.builders.logs import log
from tests.unit.builders.sequences import names, sequences


def test_a_log_is_cut_in_time_whatever_its_order() -> None:
    before = log(("u", "b", 20), ("u", "a", 10), ("v", "c", 15), ("w", "d", 99))
    after = log(("u", "e", 50), ("v", "?", 60), ("v", "f", 70), ("x", "g", 80), ("x", "h", 90), ("x", "?", 95))
    split = split_log([before, after], 1_000_000_050_000)
    assert sorted(split.items) == ["a", "b", "c"]
    assert sorted(names(split.known.item_keys.tolist())) == ["a", "b", "c"]
    asked = {}
    for start, position in zip(split.holdout.starts.tolist(), split.holdout.positions.tolist(), strict=True):
        asked[names([split.holdout.sequences.item_keys[position]])] = (
            position - start,
            split.holdout.sequences.types[start:position].tolist().count(1),
        )
    assert asked == {"e": (2, 0), "f": (2, 1), "h": (1, 0)}  # by item: earlier actions, searches among them
    assert split.timed


def test_sessions_get_a_clock_that_rises() -> None:
    split = split_sessions([["a", "b"], ["c"], ["a"]], [(["a", "b"], "c"), (["d"], "a")])
    begin = FIRST_SESSION_MS
    assert split.known.times.tolist() == [begin, begin + ACTION_MS, begin + SESSION_MS, begin + 2 * SESSION_MS]
    assert split.holdout.sequences.times.min() == split.cut == begin + 3 * SESSION_MS
    assert split.items == ["a", "b", "c"]
    assert names(split.holdout.item_keys.tolist()) == "ca"
    assert (split.holdout.positions - split.holdout.starts).tolist() == [2, 1]
    assert unpack_contexts(split.known.contexts).boundaries.tolist() == [1, 0, 1, 1]
    assert not split.timed


def test_nothing_to_learn_from_or_to_foresee_is_said() -> None:
    with pytest.raises(TooLittleData, match="learn"):
        split_log([log(("u", "a", 1), ("u", "b", 2))], 1_000_000_000_000)
    with pytest.raises(TooLittleData, match="nothing to predict"):
        split_log([log(("u", "a", 1), ("v", "b", 2))], 1_000_000_002_000)
    with pytest.raises(TooLittleData, match="nothing to predict"):
        split_sessions([["a", "b"]], [])


def test_validation_is_the_newest_part_and_not_learned_from() -> None:
    known = sequences(*["abc?d"] * 100)
    rest, holdout = validation(known, 0.1, most=7)
    assert rest.times.max() < holdout.sequences.times[holdout.positions].min()
    assert len(rest) == 450
    assert 1 <= len(holdout) <= 7
    assert not np.isin(holdout.positions, known.offsets).any()
