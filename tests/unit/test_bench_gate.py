"""The gate's errors by simulation: what is worse by the margin hardly ever serves, what is as good mostly does."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.gate import Simulated, promoted_share


@pytest.mark.parametrize("targets", [300, 2000])
def test_a_version_that_is_one_point_worse_is_promoted_once_in_twenty_rounds_at_most(targets: int) -> None:
    share = promoted_share(Simulated(targets, -0.01), 400, np.random.default_rng(targets))
    assert share <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_fresh_knowledge_that_is_as_good_is_promoted_where_there_are_enough_targets() -> None:
    assert promoted_share(Simulated(20_000, 0.0), 100, np.random.default_rng(1)) > 0.9
    assert promoted_share(Simulated(2_000, 0.02), 100, np.random.default_rng(1)) > 0.9
