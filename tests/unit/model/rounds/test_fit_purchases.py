"""The purchase head on logs where it is known who buys."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.data.events import PURCHASE, PURCHASE_WITHIN_MS, TYPE_CODES, Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.data.vocabulary import Vocabulary
from model.evaluation.probability_quality import auroc
from model.evaluation.purchase_quality import probabilities, purchase_quality
from model.network.calibration import Calibration
from model.network.network import Network, NetworkConfig
from model.network.purchase_features import NUM_FEATURES
from model.network.purchase_head import PurchaseConfig, PurchaseHead, fit_purchase_head
from model.rounds.fit_purchases import fit_purchases

VOCABULARY = Vocabulary([f"item {n}" for n in range(5)])
QUICK = PurchaseConfig(most_epochs=6)
DAY_MS = 86_400_000
EVERY_MS = 20_000
CART = TYPE_CODES["cart"]


def shop(users: int, seed: int = 0) -> Sequences:
    """Who puts something into the cart buys in four cases of five, others in one of twenty."""
    rng, events = random.Random(seed), []
    for user in range(users):
        kinds = [rng.choice(("view", "click")) for _ in range(3)]
        cart = rng.random() < 0.3
        kinds += ["cart"] * cart + ["purchase"] * (rng.random() < (0.8 if cart else 0.05))
        events += [Event(user_id=str(user), type=kind, item_id=f"item {rng.randrange(5)}") for kind in kinds]
    return sequences_of(actions_of(events, [EVERY_MS * n for n in range(len(events))]))


def fitted(log: Sequences, seed: int = 1) -> tuple[PurchaseHead, Calibration]:
    head = PurchaseHead()
    return head, fit_purchases(head, VOCABULARY, log, QUICK, seed=seed)


def test_learns_who_buys_and_how_many() -> None:
    log, later = shop(800), shop(800, seed=1)
    head, calibration = fitted(log)
    result = purchase_quality(head, VOCABULARY, calibration, later, cut=0)
    assert result is not None
    # Users' last actions too, as an answer follows each; but not those of the log's last half hour.
    assert result.number == later.purchase_known.sum() == len(later) - PURCHASE_WITHIN_MS // EVERY_MS
    assert result.base_rate == later.purchase_soon[later.purchase_known].mean()
    true = np.select([later.types == CART, later.types == PURCHASE], [0.8, 0.0], 0.3 * 0.8 + 0.7 * 0.05)
    assert result.auroc > auroc(true[later.purchase_known], later.purchase_soon[later.purchase_known]) - 0.02
    assert result.calibration_error < 0.04
    said = probabilities(head, VOCABULARY, calibration, later, np.flatnonzero(later.types == CART))
    learned = log.purchase_soon[log.purchase_known & (log.types == CART)]
    assert said.mean() == pytest.approx(learned.mean(), abs=0.06)


def test_only_what_comes_after_the_cut_is_measured() -> None:
    log = shop(300)
    head, calibration = PurchaseHead().eval(), Calibration()
    cut = int(log.times.max()) - PURCHASE_WITHIN_MS - 100 * EVERY_MS
    result = purchase_quality(head, VOCABULARY, calibration, log, cut=cut)
    assert result is not None
    assert result.number == 101
    assert purchase_quality(head, VOCABULARY, calibration, log, cut=2 * DAY_MS) is None


def test_an_event_of_several_actions_is_learned_and_measured_once() -> None:
    log = shop(800)
    continues = np.arange(len(log)) % 3 > 0
    continues[log.offsets[:-1]] = False
    baskets = replace(log, continues=continues)
    head, calibration = fitted(baskets)
    known = baskets.purchase_known & baskets.ends_event
    result = purchase_quality(head, VOCABULARY, calibration, baskets, cut=0)
    assert result is not None
    assert result.number == known.sum() < baskets.purchase_known.sum()
    assert result.base_rate == baskets.purchase_soon[known].mean()
    assert result.mean_probability == pytest.approx(result.base_rate, rel=0.2)  # of all actions half as many


def test_how_a_log_ends_does_not_change_the_fit() -> None:
    """Whoever came in its last half hour buys, or does not: it is not known yet what else comes."""
    log, fits = shop(400), []
    came = np.repeat(log.times[log.offsets[:-1]], np.diff(log.offsets))
    late = came > log.times.max() - PURCHASE_WITHIN_MS
    assert late.sum() > 50
    for kind in (CART, PURCHASE):
        contexts = np.where(late, log.contexts & ~np.uint32(7) | np.uint32(kind), log.contexts)
        fits.append(fitted(replace(log, contexts=contexts)))
    (head, calibration), (other, others) = fits
    assert calibration == others
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), other.parameters(), strict=True))


def test_calibration_is_fitted_to_users_that_were_left_out() -> None:
    """Labels that nothing tells: what a head makes of them on its own users holds for no others."""
    log = shop(200)
    rng = np.random.default_rng(1)
    types = rng.integers(0, 4, len(log)).astype(np.uint32)
    noise = replace(log, contexts=rng.integers(0, 2**32, len(log), dtype=np.uint32) & ~np.uint32(7) | types)
    head = PurchaseHead()
    calibration = fit_purchases(head, VOCABULARY, noise, PurchaseConfig(most_epochs=60), seed=1)
    assert calibration.slope < 0.8  # above 1, were it fitted to those that the head has learned


def test_nothing_but_the_head_changes_and_a_seed_fixes_it() -> None:
    network = Network(NetworkConfig(items=5, width=8, hidden=8)).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    drawn = torch.get_rng_state()
    calibration = fit_purchases(network.purchase, VOCABULARY, shop(50), QUICK, seed=3)
    assert torch.equal(torch.get_rng_state(), drawn)
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if key.startswith("purchase.")}
    again, same = fitted(shop(50), seed=3)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.purchase.parameters(), strict=True))
    assert same == calibration
    assert not any(weight.requires_grad for weight in again.parameters())
    assert not again.training


def test_an_empty_log_leaves_finite_numbers() -> None:
    head = PurchaseHead()
    fit_purchase_head(head, np.zeros((0, NUM_FEATURES), np.int32), np.zeros(0, np.bool_), QUICK, seed=1)
    assert all(torch.isfinite(weight).all() for weight in head.parameters())
