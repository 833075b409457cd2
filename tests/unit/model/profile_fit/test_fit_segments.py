"""Segments of made-up users who differ in what they do."""

from __future__ import annotations

import numpy as np

from model.data.vocabulary import Vocabulary
from model.profile_fit.fit_segments import FEW, SegmentUsers, fit_segments, fitted_to
from tests.unit.builders.visits import shop

VOCABULARY = Vocabulary([f"item {n}" for n in range(5)])


def test_regulars_and_others_are_told_apart_and_named() -> None:
    log = shop(300, 40)
    fitted = fit_segments(VOCABULARY, log, None, seed=1)
    assert fitted is not None
    fitted.check()
    assert len(fitted.ids) >= FEW
    assert len(set(fitted.names)) == len(fitted.names)
    users = SegmentUsers(log, VOCABULARY)
    numbers = users.assigned(fitted)
    regular = np.diff(log.offsets) > np.median(np.diff(log.offsets))
    assert any("returning" in name for name in fitted.names)
    shares = [regular[numbers == number].mean() for number in range(len(fitted.ids))]
    assert max(shares) > 0.9
    assert min(shares) < 0.1


def test_a_log_of_the_same_users_keeps_the_ids() -> None:
    log = shop(300, 40)
    before = fit_segments(VOCABULARY, log, None, seed=1)
    assert before is not None
    again = fit_segments(VOCABULARY, log, before, seed=2)
    assert again is not None
    users = SegmentUsers(log, VOCABULARY)
    first = np.array(before.ids)[users.assigned(before)]
    second = np.array(again.ids)[users.assigned(again)]
    assert (first == second).mean() > 0.8


def test_a_seed_fixes_the_segments() -> None:
    log = shop(150, 30)
    assert fit_segments(VOCABULARY, log, None, seed=1) == fit_segments(VOCABULARY, log, None, seed=1)


def test_few_users_or_the_same_ones_make_no_segments() -> None:
    assert fit_segments(VOCABULARY, shop(60, 10), None, seed=1) is None
    one = shop(1, 10)
    same = one.of_users(np.zeros(120, np.int64))
    assert fitted_to(SegmentUsers(same, VOCABULARY), None, seed=1) is None
