"""What is known of an answer's own and explained items, against plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.contexts import types_of
from model.data.events import SEARCH
from model.data.vocabulary import Vocabulary
from model.profile.why.left_out import AT_ONCE, MOST_LEFT_OUT, own_terms
from tests.unit.builders.candidates import CATALOGUE, asked_after, random_log, ranking_of


def test_own_items_are_the_distinct_ones_latest_first_with_their_terms() -> None:
    log, vocabulary = random_log(1), Vocabulary(CATALOGUE)
    ranking = ranking_of(log, vocabulary, seed=2)
    recent, best = asked_after(log, vocabulary, range(3, len(log), 31), seed=2)
    items = best.items[:, :AT_ONCE].copy()
    items[:, 1] = vocabulary.table.find(recent.item_keys[recent.starts])  # for most their oldest own one
    items[5, 2] = -1  # there are two items only
    found = own_terms(ranking.sources(recent, best), items)

    vectors, most = ranking.live.arrays.vectors, 0
    for n in range(len(items)):
        window = np.arange(max(recent.starts[n], recent.stops[n] - 32), recent.stops[n])[::-1]
        window = window[types_of(recent.contexts[window]) != SEARCH]
        own = list(dict.fromkeys(recent.items[window].tolist()))[:MOST_LEFT_OUT]
        assert found.own[n, : found.counts[n]].tolist() == own
        logits = vectors @ best.queries[n]
        for j, item in enumerate(items[n].tolist()[: 2 if n == 5 else 3]):
            if item < 0:
                break
            log_probability = max(float(logits[item] - np.log(np.exp(logits).sum())), -20)
            for rank, other in enumerate(own):
                cosine, query = float(vectors[item] @ vectors[other]), float(logits[other])
                expected = [
                    1,
                    cosine,
                    float(item == other),
                    query,
                    float(logits[item]),
                    cosine * query,
                    log_probability,
                ]
                assert found.terms[n, j, rank].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-3)
                most += item == other
    assert most > 10
    assert found.ages.tolist() == sorted(found.ages.tolist())
