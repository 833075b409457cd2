"""The softmax of two logits' sum, against PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.serving.heads import exponentials, type_given_item


@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_it_is_the_softmax_of_the_sum(spread: float) -> None:
    drawn = torch.Generator().manual_seed(1)
    users, catalogue = torch.randn(7, 8, generator=drawn) * spread, torch.randn(30, 8, generator=drawn)
    catalogue[:, 3] = float("-inf")
    items = torch.randint(30, (7, 20), generator=drawn)

    found = type_given_item(exponentials(users), exponentials(catalogue), items.numpy())
    expected = (users.double()[:, None] + catalogue.double()[items]).softmax(-1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not found[:, :, 3].any()
