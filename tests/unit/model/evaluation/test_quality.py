"""Coverage, share of popular items and slices, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.data.events import SEARCH
from model.evaluation.baselines import ItemIndex
from model.evaluation.quality import QualityMeter, slices
from model.evaluation.ranking import MISSED, Holdout, RankedTargets
from model.evaluation.split import Split, split_log, split_sessions
from tests.unit.builders.logs import log
from tests.unit.builders.sequences import random_users, rows, sequences


def item_keys(letters: str) -> NDArray[np.uint64]:
    return rows(letters, width=len(letters)).ravel()


def test_coverage_and_popular_share() -> None:
    items = ItemIndex(sequences("aaaab", "bcde"))  # 9 actions: a and b make 6; a alone 4, less than half
    ranked = RankedTargets(np.array([1, MISSED, 4]), rows("ab", "ac", "az"))
    found = QualityMeter(items, item_keys("abz")).measure(ranked)
    assert found.coverage == pytest.approx(3 / 5)  # z is not in the training data
    assert found.popular_share == pytest.approx(4 / 6)
    assert found.targets == 3
    assert found.unseen == pytest.approx(1 / 3)  # z, too
    assert found.means.recall[5] == pytest.approx(2 / 3)


def test_a_subset_is_measured_by_itself() -> None:
    ranked = RankedTargets(np.array([1, MISSED, 4]), rows("ab", "ac", "ad"))
    meter = QualityMeter(ItemIndex(sequences("abcd")), item_keys("azd"))
    found = meter.measure(ranked, np.array([False, True, False]))
    assert (found.targets, found.means.recall[20], found.coverage, found.unseen) == (1, 0.0, 0.5, 1.0)


def test_half_of_the_training_needs_no_more_items_than_that() -> None:
    meter = QualityMeter(ItemIndex(sequences("aabc")), item_keys("a"))
    found = meter.measure(RankedTargets(np.array([1]), rows("abc")))
    assert found.popular_share == pytest.approx(1 / 3)  # a makes half of it


def test_slices_of_a_log() -> None:
    day = 24 * 60 * 60
    rest = [("v", item, day + n) for n, item in enumerate("abcdefghijkl?m")]
    actions = log(("u", "a", 0), ("u", "b", 10), ("u", "a", 20), *rest)
    split = split_log([actions], int(actions.times[1]))
    found = slices(split, ItemIndex(split.known).item_keys)
    counts = {kind: {name: int(mask.sum()) for name, mask in masks.items()} for kind, masks in found.items()}
    assert counts == {
        "position": {"1": 2, "2": 2, "3": 1, "4-5": 2, "6-10": 5, "11+": 2},
        "user": {"seen in training": 2, "unseen": 12},
        "item": {"seen in training": 1, "unseen": 13},
        "repeat": {"touched before": 1, "new to the user": 13},
        "day": {"2001-09-09": 2, "2001-09-10": 12},
    }


def test_sessions_have_no_days() -> None:
    split = split_sessions([["a", "b"]], [(["a"], "b"), (["b"], "z")])
    found = slices(split, ItemIndex(split.known).item_keys)
    assert set(found) == {"position", "user", "item", "repeat"}
    assert set(found["user"]) == {"unseen"}


def test_repeats_are_told_from_what_is_new_to_the_user_by_a_plain_loop() -> None:
    whole = sequences(*random_users(3, items="abcdef"))
    holdout = Holdout(whole, whole.targets_from())
    repeat = slices(Split(whole, [], holdout, 0, timed=False), whole.item_keys)["repeat"]
    for n, (start, position) in enumerate(zip(holdout.starts, holdout.positions, strict=True)):
        before = whole.item_keys[start:position][whole.types[start:position] != SEARCH]
        assert repeat["touched before"][n] == (whole.item_keys[position] in before)
    assert (repeat["touched before"] != repeat["new to the user"]).all()
    assert repeat["touched before"].any()
