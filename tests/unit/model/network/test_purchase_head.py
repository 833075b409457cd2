"""The purchase head by itself: what it learns, what it leaves alone, how often it goes through its examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.network import purchase_head
from model.network.purchase_features import NUM_FEATURES
from model.network.purchase_head import PurchaseConfig, PurchaseHead, fit_purchase_head, purchase_logits

QUICK = PurchaseConfig(most_epochs=4, batch=16)


def examples(count: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Features of which the first decides: with row 0 nine of ten buy, with row 1 one of ten."""
    rng = np.random.default_rng(1)
    features = rng.integers(2, 20, (count, NUM_FEATURES), dtype=np.int32)
    features[:, 0] = rng.integers(0, 2, count)
    return features, rng.random(count) < np.where(features[:, 0] == 0, 0.9, 0.1)


def fitted(seed: int) -> PurchaseHead:
    head = PurchaseHead()
    fit_purchase_head(head, *examples(400), QUICK, seed=seed)
    return head


def weights(head: PurchaseHead) -> list[torch.Tensor]:
    return list(head.state_dict().values())


def test_a_row_that_decides_is_learned() -> None:
    features, labels = examples(3000)
    head = PurchaseHead()
    fit_purchase_head(head, features, labels, QUICK, seed=1)
    logits = purchase_logits(head, features)
    assert logits[features[:, 0] == 0].mean() > 1
    assert logits[features[:, 0] == 1].mean() < -1


def test_a_seed_fixes_the_fit_whatever_the_head_knew() -> None:
    once, again, other = fitted(1), fitted(1), fitted(2)
    assert all(map(torch.equal, weights(once), weights(again)))
    assert not all(map(torch.equal, weights(once), weights(other)))
    fit_purchase_head(other, *examples(400), QUICK, seed=1)
    assert all(map(torch.equal, weights(once), weights(other)))


def test_a_fit_draws_from_a_generator_of_its_own() -> None:
    head = PurchaseHead()
    drawn = torch.get_rng_state()
    fit_purchase_head(head, *examples(50), QUICK, seed=3)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not head.training
    assert not any(weight.requires_grad for weight in head.parameters())


def test_chunks_of_examples_change_no_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    head, (features, _) = PurchaseHead().eval(), examples(100)
    whole = purchase_logits(head, features)
    monkeypatch.setattr(purchase_head, "_AT_ONCE", 33)
    np.testing.assert_allclose(purchase_logits(head, features), whole, atol=1e-6)
    assert purchase_logits(head, features[:0]).shape == (0,)


def test_a_small_set_is_repeated_more_often_than_a_large_one() -> None:
    config = PurchaseConfig(examples=1000, most_epochs=4)
    assert [config.epochs(examples) for examples in (0, 10, 250, 400, 1000, 10**6)] == [4, 4, 4, 2, 1, 1]
