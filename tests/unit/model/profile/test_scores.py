"""The compiled heads of scores, against PyTorch's layers."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from model.data.recent import RecentActions
from model.network.calibration import Calibration
from model.network.purchase_features import ROWS, purchase_features
from model.network.purchase_head import PurchaseHead, purchase_logits
from model.profile.fitted_scores import Score, ScoreHead, Scores
from model.profile.rhythm import RHYTHM
from model.profile.rhythm_features import RHYTHM_ROWS, rhythm_features
from model.profile.scores import ScoreHeads

LINE = Calibration(slope=0.8, intercept=-0.3)


def drawn(rows: int, seed: int) -> tuple[PurchaseHead, ScoreHead]:
    torch.manual_seed(seed)
    head = PurchaseHead(rows, 5).eval()
    for weight in head.parameters():
        weight.normal_(std=0.3)
    weights = ScoreHead(
        table=head.table.weight.tolist(),
        biases=head.bias.tolist(),
        last=head.last.weight[0].tolist(),
        linear=head.linear.weight[:, 0].tolist(),
        bias=head.last.bias.item(),
        slope=LINE.slope,
        intercept=LINE.intercept,
    )
    return head, weights


def some_users(count: int) -> tuple[RecentActions, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    starts = np.arange(count, dtype=np.int64)
    contexts = rng.integers(0, 2**32, 2 * count + 40, dtype=np.uint32)
    items = rng.integers(-1, 5, len(contexts)).astype(np.int32)
    stops = starts + rng.integers(0, 40, count)
    rhythms = np.zeros(count, RHYTHM)
    for name in ("visits", "actions", "of_visit", "gap", "gap_before"):
        rhythms[name] = rng.integers(0, 1_000, count)
    rhythms["first"] = rng.integers(0, 2**31, count)
    return (
        RecentActions(items, contexts, starts, stops, np.zeros(len(items), np.uint64)),
        rhythms,
        1000 * 2**31 + starts,
    )


@pytest.mark.parametrize("count", [0, 1, 50])
def test_the_loops_compute_what_the_layers_compute(count: int) -> None:
    recent, rhythms, times = some_users(count)
    (leave, of_leave), (returns, of_returns) = drawn(ROWS, 1), drawn(RHYTHM_ROWS, 2)
    scores = msgspec.json.decode(msgspec.json.encode(Scores(Score(0.5, of_leave), Score(0.5, of_returns))), type=Scores)
    scores.check()
    found = ScoreHeads(scores).answer(recent, rhythms, times)
    close(found.leave, leave, purchase_features(recent))
    assert found.returns is not None
    close(found.returns, returns, rhythm_features(rhythms, times))


def close(found: np.ndarray, head: PurchaseHead, features: np.ndarray) -> None:
    expected = LINE.probabilities(torch.from_numpy(purchase_logits(head, features)))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_without_a_head_the_rate_is_said(rate: float) -> None:
    found = ScoreHeads(Scores(Score(rate))).answer(*some_users(3))
    np.testing.assert_allclose(found.leave, rate, atol=2e-6)
    assert found.returns is None


def test_heads_of_other_features_are_refused() -> None:
    _, of_leave = drawn(ROWS, 1)
    with pytest.raises(ValueError, match="weights for"):
        ScoreHeads(Scores(Score(0.5, of_leave), Score(0.5, of_leave)))
