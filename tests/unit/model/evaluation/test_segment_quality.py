"""Figures of segments, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.vocabulary import Vocabulary
from model.evaluation.segment_quality import (
    assigned_in_time,
    group_rates,
    outcomes,
    rfv_thirds,
    segment_quality,
)
from model.profile.fitted_segments import FittedSegments
from model.profile_fit.fit_segments import SegmentUsers
from tests.unit.builders.segments import fitted_segments
from tests.unit.builders.visits import BEGIN, DAY, shop

VOCABULARY = Vocabulary(["item 1"])


def test_lifts_are_rates_over_that_of_all() -> None:
    groups, came = np.array([0] * 40 + [1] * 60), np.zeros(100, np.bool_)
    came[:20] = came[40:50] = True
    found = group_rates(groups, came)
    assert found is not None
    assert found.users == [40, 60]
    assert found.lifts == pytest.approx([0.5 / 0.3, (1 / 6) / 0.3])
    assert found.low[0] < found.lifts[0] < found.high[0]
    # Wilson's interval of 20 in 40.
    assert (0.3 * found.low[0], 0.3 * found.high[0]) == pytest.approx((0.352, 0.648), abs=1e-3)
    assert found.spread == pytest.approx(np.sqrt(0.4 * 0.2**2 + 0.6 * (0.3 - 1 / 6) ** 2) / 0.3)
    assert found.spread > found.spread_by_chance
    assert group_rates(groups, np.zeros(100, np.bool_)) is None


def test_groups_that_say_nothing_spread_as_random_ones_do() -> None:
    rng = np.random.default_rng(1)
    found = group_rates(rng.integers(0, 4, 2000), rng.random(2000) < 0.2)
    assert found is not None
    assert found.spread < 1.3 * found.spread_by_chance


def test_what_came_is_of_the_time_after_the_cut() -> None:
    log, cut = shop(30, 20), BEGIN + 10 * DAY
    known = log.before(cut)
    bought, returned = outcomes(log, known, cut)
    assert not bought.any()  # nobody buys anything in this shop
    for user, key in enumerate(known.user_keys):
        whole = int(np.flatnonzero(log.user_keys == key)[0])
        times = log.times[log.offsets[whole] : log.offsets[whole + 1]]
        assert returned[user] == ((times >= cut) & (times < cut + DAY)).any()


def test_users_are_assigned_event_by_event() -> None:
    log, segments = shop(30, 40), fitted_segments()
    numbers, flips = assigned_in_time(segments, VOCABULARY, log)
    far = SegmentUsers(log, VOCABULARY).assigned(segments)
    assert (numbers == far).mean() > 0.6  # some stay where they were
    assert 0 < flips < 20


def test_thirds_are_as_many_as_they_can_be() -> None:
    groups = rfv_thirds(shop(60, 40))
    assert 3 <= len(np.unique(groups)) <= 7
    assert len(groups) == 60


def test_segments_are_judged_by_what_users_did_later() -> None:
    def judged(segments: FittedSegments) -> float:
        found = segment_quality(segments, VOCABULARY, shop(200, 40), BEGIN + 20 * DAY)
        assert found is not None
        assert found.purchases is None
        assert found.returns is not None
        assert found.returns.lifts[0] > found.returns.lifts[1]  # who came often comes again
        return found.returns.spread

    assert judged(fitted_segments()) > 0.3
    assert segment_quality(fitted_segments(), VOCABULARY, shop(5, 5), BEGIN - DAY) is None
