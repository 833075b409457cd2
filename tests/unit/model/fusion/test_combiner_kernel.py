"""The combiner's compiled loop, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.fusion.candidate_features import ANSWER_FEATURES, FEATURES, OWN_ITEM_FEATURES
from model.fusion.combiner import Combiner
from model.fusion.combiner_kernel import combiner_weights, score_candidates


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 233, 256])
def test_scores_are_those_of_the_layers(count: int) -> None:
    combiner, features = drawn(), drawn_features(count)
    np.testing.assert_allclose(scores(combiner, features.numpy()), layers(combiner, features), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("own", [[], [0], [15], [16], [100], [3, 47, 99], list(range(101))])
def test_own_items_count_wherever_they_are_among_the_candidates(own: list[int]) -> None:
    combiner, features = drawn(), drawn_features(101)
    others = np.setdiff1d(np.arange(101), own)
    features.numpy()[np.array(OWN_ITEM_FEATURES)[:, None], others] = 0
    np.testing.assert_allclose(scores(combiner, features.numpy()), layers(combiner, features), rtol=1e-5, atol=1e-3)


def test_columns_beyond_the_candidates_do_not_count() -> None:
    combiner, buffer = drawn(), np.full((len(FEATURES), 40), np.nan, np.float32)
    buffer[:, :21] = 1  # own items among them
    np.testing.assert_array_equal(scores(combiner, buffer[:, :21]), scores(combiner, buffer[:, :21].copy()))


def drawn() -> Combiner:
    """A combiner with random weights everywhere."""
    combiner, randomness = Combiner().eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in combiner.parameters():
            parameter.normal_(generator=randomness)
    return combiner


def drawn_features(count: int) -> torch.Tensor:
    """Features (F, C) of candidates of one answer, all of them the user's own items."""
    features = torch.randn(len(FEATURES), count, generator=torch.Generator().manual_seed(count))
    features[FEATURES.index("own")] = 1
    features[list(ANSWER_FEATURES)] = features[list(ANSWER_FEATURES), :1]
    return features


def layers(combiner: Combiner, features: torch.Tensor) -> NDArray[np.float32]:
    """Scores by PyTorch's layers."""
    rows = features.T
    hidden = combiner.second(combiner.first(rows).relu()).relu()
    found: NDArray[np.float32] = (combiner.last(hidden) + combiner.linear(rows))[:, 0].detach().numpy()
    return found


def scores(combiner: Combiner, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores by the compiled loop."""
    found = np.full(features.shape[1], np.nan, np.float32)
    score_candidates(features, combiner_weights(combiner), found)
    return found
