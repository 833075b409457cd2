"""The figures of the benchmark of live runs: ratios with intervals over users, and what was wanted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.evaluation.live_scores import OTHER, UNTOUCHED, LiveScores, Touches, ranks_of
from tests.bench.live import figures, markdown, ratio


def made_scores(online: list[int]) -> LiveScores:
    count = len(online)
    return LiveScores(
        targets=Touches(np.arange(count), np.arange(count) % 5, np.arange(count).astype(np.uint64)),
        model_ranks=ranks_of(np.array(online)),
        rules_ranks=ranks_of(np.array([1, 0] * (count // 2))),
        known_users=np.ones(count, np.bool_),
        kinds=np.array([OTHER, UNTOUCHED] * (count // 2), np.uint8),
    )


def test_a_ratio_is_of_all_hits_and_its_interval_of_draws_of_users() -> None:
    rng = np.random.default_rng(3)
    users = np.repeat(np.arange(300), 4)
    others = rng.random(1200) < 0.3
    hits = others | (rng.random(1200) < 0.1)
    value, low, high = ratio(hits, others, users)
    assert value == pytest.approx(hits.sum() / others.sum(), abs=1e-3)
    assert low < value < high
    assert ratio(others, others, users) == [1, 1, 1], "the same users on both sides"
    wider = ratio(hits, others, users // 60)
    assert wider[2] - wider[1] != pytest.approx(high - low, rel=0.1)


def test_the_table_says_what_was_reached() -> None:
    learned, stood = made_scores([1, 0, 2, 3] * 5), made_scores([1, 0, 0, 3] * 5)
    found = {"slice": figures(learned, replace(stood, rules_ranks=learned.rules_ranks))}
    lines = markdown(found).splitlines()
    assert "1.500" in lines[2]
    assert "times rules, reached" in lines[2]
    assert lines[2].endswith("| 20 | 75.00 / 45.83 | 50.00 / 33.33 | 50.00 / 50.00 | 50.00 |")
    assert lines[3].startswith("| … untouched | 10 |")
    assert "MISSED: at least 1.1" in markdown({"slice": figures(stood, stood)})
