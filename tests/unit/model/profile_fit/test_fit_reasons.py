"""What tells reasons is fitted to what a network says of pasts without one of their items."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from model.data.sequences import Sequences
from model.fusion.fusion import Fusion
from model.profile.why.left_out import AGES, AT_ONCE, own_terms
from model.profile_fit import fit_reasons as fitting
from model.profile_fit.fit_reasons import fit_reasons
from model.profile_fit.removal import Past, past_of, queries_after, recent_of
from model.statistics.log_statistics import counter_of
from model.training.fit_run import FitRun
from model.versions.version import Version
from tests.unit.builders.basics import CPU, drawn_combiner, make_version
from tests.unit.builders.sequences import random_users, sequences

LOG = sequences(*random_users(4, users=120))


@cache
def version() -> Version:
    return make_version([chr(n) for n in range(ord("a"), ord("z") + 1)])


@cache
def fusion() -> Fusion:
    return Fusion(counter_of(LOG).table, drawn_combiner(2))


def test_the_fit_explains_what_the_network_loses() -> None:
    fitted = fit_reasons(version().network, version().vocabulary, fusion(), LOG, FitRun(CPU, 1))
    fitted.check()
    again = fit_reasons(version().network, version().vocabulary, fusion(), LOG, FitRun(CPU, 1))
    assert fitted == again
    real, estimated = losses(LOG, np.array(fitted.network))
    assert len(real) > 300
    assert np.corrcoef(real, estimated)[0, 1] > 0.5


def losses(log: Sequences, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network's log-probabilities of its best items lose without each own item, computed and estimated."""
    users = [user for user in range(len(log.offsets) - 1) if log.offsets[user + 1] - log.offsets[user] >= 3]
    pasts = [past_of(log, user) for user in users]
    with torch.inference_mode():
        explained = fitting._ModelItems(version().network, version().vocabulary, fusion(), CPU)
        vectors = version().network.item_vectors()

        def log_p(past: Past) -> torch.Tensor:
            tokens = version().vocabulary.tokens(past.item_keys[None], past.contexts[None], log.queries)
            query = version().network.queries(version().network(tokens)[1][0, -1])
            return torch.log_softmax(vectors @ query, 0)

        queries = queries_after(version().network, version().vocabulary, pasts, log.queries, CPU)
        best = explained.best(queries, 20)
        items = best.items[:, :AT_ONCE].copy()
        terms = own_terms(explained.ranking.sources(recent_of(version().vocabulary, pasts, log.queries), best), items)
        real, estimated = [], []
        for n, past in enumerate(pasts):
            for rank in range(terms.counts[n]):
                gone = past.item_keys == explained.live.item_keys[terms.own[n, rank]]
                if gone.all():
                    continue
                drop = (log_p(past) - log_p(past.without(gone)))[items[n]]
                real.extend(drop.tolist())
                estimated.extend((terms.terms[n, :, rank] @ weights[terms.ages[rank]]).tolist())
    return np.array(real), np.array(estimated)


@pytest.mark.parametrize("log", [sequences("a"), sequences("ab", "aba")])
def test_a_log_that_is_too_short_gives_weights_all_the_same(log: Sequences) -> None:
    fitted = fit_reasons(version().network, version().vocabulary, fusion(), log, FitRun(CPU, 1))
    fitted.check()
    assert fitted.network == [[0.0] * 7] * AGES
