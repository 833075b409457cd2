"""Pasts without some actions are those of a log that never had them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.data.events import Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.profile_fit.removal import past_of, queries_after, recent_of
from tests.unit.builders.basics import CPU, make_version

APART = (0, 5, 40, 3_000, 7, 100_000, 1, 2_500, 60)  # seconds between the actions


def log_of(numbers: list[int]) -> Sequences:
    times = np.cumsum(APART)
    events = [Event(user_id="u", type="view", item_id=f"item {n}", category=f"category {n % 3}") for n in numbers]
    return sequences_of(actions_of(events, [1000 * int(times[n]) for n in numbers]))


@pytest.mark.parametrize("gone", [[], [0], [0, 1, 2], [3], [3, 4], [5], [2, 4, 6], [8], [1, 2, 3, 4, 5, 6, 7]])
def test_a_past_without_actions_is_that_of_a_log_without_them(gone: list[int]) -> None:
    whole, left = list(range(len(APART))), [n for n in range(len(APART)) if n not in gone]
    cut = past_of(log_of(whole), 0).without(np.isin(whole, gone))
    expected = past_of(log_of(left), 0)
    for name in ("item_keys", "contexts", "times"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(expected, name))
    assert len(cut) == len(left)


def test_queries_are_those_of_the_network_after_each_past_however_long() -> None:
    version, log = make_version(), log_of(list(range(len(APART))))
    whole = past_of(log, 0)
    pasts = [whole.without(np.arange(len(whole)) >= size) for size in (3, 9, 1, 0)]
    queries = queries_after(version.network, version.vocabulary, pasts, log.queries, CPU)
    with torch.inference_mode():
        tokens = version.vocabulary.tokens(whole.item_keys[None], whole.contexts[None])
        _, vectors = version.network(tokens)
        expected = version.network.queries(vectors[0])
    for row, size in enumerate((3, 9, 1)):
        torch.testing.assert_close(queries[row], expected[size - 1])
    assert not queries[3].any()

    recent = recent_of(version.vocabulary, pasts, log.queries)
    assert (recent.stops - recent.starts).tolist() == [3, 9, 1, 0]
    assert recent.items[recent.starts[1] : recent.stops[1]].tolist() == list(range(9))
