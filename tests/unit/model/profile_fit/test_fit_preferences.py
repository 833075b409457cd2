"""Fits find what a made-up log is made of, and leave alone what it says too little about."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.disk_log import FrequentNames
from model.data.events import Event, actions_of, text_buckets
from model.data.sequences import Sequences, sequences_of
from model.profile.counting import no_counts
from model.profile.fitted_preferences import UNFITTED
from model.profile.preference_shares import PreferenceModel
from model.profile_fit.fit_preferences import (
    expected_shares,
    fit_preferences,
    fit_readout,
    frequencies,
    shares_of_sources,
)
from model.profile_fit.preference_examples import FieldExamples
from model.training.fit_run import FitRun
from tests.unit.builders.basics import CPU, version

RUN = FitRun(CPU, 1)


def faithful_log(users: int) -> Sequences:
    """Whoever bought in a category stays with it, whatever they look at."""
    randomness, events = np.random.default_rng(1), []
    for user in range(users):
        own, *others = randomness.choice(20, 4, replace=False).tolist()
        events += [Event(f"{user}", "purchase", "item 1", category=f"c{own}")]
        events += [Event(f"{user}", "view", "item 2", category=f"c{other}") for other in others]
        events += [Event(f"{user}", "purchase", "item 1", category=f"c{own}")]
    return sequences_of(actions_of(events, [1000 * n for n in range(len(events))]))


def test_what_was_bought_weighs_more_where_buyers_are_faithful() -> None:
    fitted = fit_preferences(
        version().network, version().vocabulary, faithful_log(500), RUN, FrequentNames(["a"], ["b"])
    )
    fitted.check()
    looked, _, bought = fitted.categories.kinds
    assert bought > 2 * looked
    assert fitted.categories.readout is not None
    assert fitted.brands == UNFITTED.brands, "there are none"
    assert (fitted.category_names, fitted.brand_names) == (["a"], ["b"])
    again = fit_preferences(
        version().network, version().vocabulary, faithful_log(500), RUN, FrequentNames(["a"], ["b"])
    )
    assert again == fitted


def test_a_short_log_leaves_all_as_it_was() -> None:
    for users in (0, 30):
        fitted = fit_preferences(version().network, version().vocabulary, faithful_log(users), RUN)
        assert (fitted.categories, fitted.brands, fitted.prices) == (
            UNFITTED.categories, UNFITTED.brands, UNFITTED.prices,
        )  # fmt: skip


def test_a_read_out_finds_the_classes_of_vectors() -> None:
    randomness = np.random.default_rng(2)
    targets = randomness.integers(1, 5, 400)
    vectors = np.eye(5, dtype=np.float32)[targets] + 0.1 * randomness.standard_normal((400, 5)).astype(np.float32)
    layer = fit_readout(vectors, targets, np.array([1, 2, 3]))
    shares = expected_shares(layer, vectors, targets, 8)
    assert shares.sum(1) == pytest.approx(np.ones(400), abs=1e-3)
    assert (shares.argmax(1) == targets).mean() > 0.98
    assert not shares[:, 0].any()
    assert shares[:, 5].max() < shares[targets == 4][:, 4].min(), "what was never met has least"


def test_served_shares_are_those_of_the_fit() -> None:
    fitted = fit_preferences(version().network, version().vocabulary, faithful_log(500), RUN)
    counts = no_counts(1)
    buckets = text_buckets(["c1", "c2"], 1024)
    counts.keys[0, 0, :2], counts.weights[0, 0, :2] = buckets, [[1, 0, 0], [0, 0, 2]]
    vectors = np.random.default_rng(3).standard_normal((1, version().network.config.width)).astype(np.float32)
    served = PreferenceModel(fitted).answer(counts, vectors).shares
    field = FieldExamples(
        counts.keys[:, 0].astype(np.int64),
        counts.weights[:, 0],
        vectors,
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        True,
    )
    counted, recent, trust = shares_of_sources(fitted.categories, field)
    assert fitted.categories.readout is not None
    wanted = trust[0, 2] * expected_shares(fitted.categories.readout, vectors, np.ones(1, np.int64), 1024)[0]
    for entry, bucket in enumerate(buckets.tolist()):
        wanted[bucket] += trust[0, 0] * counted[0, entry] + trust[0, 1] * recent[0, entry]
    for key, share in zip(served.keys[0, 0].tolist(), served.shares[0, 0].tolist(), strict=True):
        assert share == pytest.approx(wanted[key], rel=1e-3)
    assert served.shares[0, 0, 0] == pytest.approx(wanted.max(), rel=1e-3)


def test_frequencies_leave_room_for_what_was_never_met() -> None:
    found = frequencies(np.array([1, 1, 1, 2, 2, 3]), 6)
    assert found.sum() == pytest.approx(1)
    assert found.tolist() == pytest.approx([0, 6 / 7 / 2, 6 / 7 / 3, 6 / 7 / 6, 1 / 14, 1 / 14])
    assert frequencies(np.array([1, 2]), 3).tolist() == pytest.approx([0, 0.5, 0.5])
    assert frequencies(np.zeros(0, np.int64), 3).tolist() == pytest.approx([0, 0.5, 0.5])
