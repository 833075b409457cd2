"""The combiner's compiled loop, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.candidates import FEATURES
from model.combiner import Combiner
from model.weighing import weigh, weights_of


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 233, 256])
def test_scores_are_those_of_the_layers(count: int) -> None:
    combiner, features = drawn(), torch.randn(len(FEATURES), count, generator=torch.Generator().manual_seed(count))
    np.testing.assert_allclose(scores(combiner, features.numpy()), layers(combiner, features), rtol=1e-5, atol=1e-3)


def test_columns_beyond_the_candidates_count_for_nothing() -> None:
    combiner, room = drawn(), np.full((len(FEATURES), 40), np.nan, np.float32)
    room[:, :21] = 1
    np.testing.assert_array_equal(scores(combiner, room[:, :21]), scores(combiner, room[:, :21].copy()))


def drawn() -> Combiner:
    """A combiner of which every weight counts."""
    combiner, randomness = Combiner().eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in combiner.parameters():
            parameter.normal_(generator=randomness)
    return combiner


def layers(combiner: Combiner, features: torch.Tensor) -> NDArray[np.float32]:
    """By PyTorch's layers."""
    rows = features.T
    hidden = combiner.second(combiner.first(rows).relu()).relu()
    found: NDArray[np.float32] = (combiner.last(hidden) + combiner.linear(rows))[:, 0].detach().numpy()
    return found


def scores(combiner: Combiner, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """By the compiled loop."""
    found = np.full(features.shape[1], np.nan, np.float32)
    weigh(features, weights_of(combiner), found)
    return found
