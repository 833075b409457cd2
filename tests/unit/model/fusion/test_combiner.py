"""The combiner: its likelihood by hand, what it learns, and that it takes features as they are."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.fusion.candidate_features import FEATURES, FOLLOWED
from model.fusion.candidates import Candidates
from model.fusion.combiner import (
    Combiner,
    CombinerConfig,
    Examples,
    fit_combiner,
    identity_combiner,
    joined_examples,
)
from tests.unit.builders.basics import drawn_combiner

MOST = 12
OWN, TREND = FEATURES.index("own"), FEATURES.index("trend")


def candidates(seed: int, n: int = 400) -> tuple[Candidates, NDArray[np.int32]]:
    """Candidates among which the user's own item comes next four times of five, and else none of them."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(2, MOST + 1, n)
    items = np.stack([rng.permutation(40)[:MOST] for _ in range(n)]).astype(np.int32)
    features = rng.normal(size=(n, MOST, len(FEATURES))).astype(np.float32)
    features[:, :, TREND] = 1000 + 100 * features[:, :, TREND]  # of another size than the others
    features[:, :, OWN] = 0
    own = rng.integers(0, counts)
    features[np.arange(n), own, OWN] = 1
    comes = rng.random(n) < 0.8
    there = np.arange(MOST) < counts[:, None]
    starts = np.concatenate(([0], np.cumsum(counts)))
    targets = np.where(comes, items[np.arange(n), own], -1).astype(np.int32)
    return Candidates(items[there], np.ascontiguousarray(features[there].T), starts), targets


def fitted(seed: int = 1, start: Combiner | None = None, **changes: float) -> tuple[Combiner, list[float]]:
    whole, targets = candidates(seed=0)
    losses: list[float] = []
    config = CombinerConfig(**{"examples": 400 * 30, "batch": 50, **changes})  # type: ignore[arg-type]
    combiner = fit_combiner(
        Examples(whole, targets),
        config,
        seed=seed,
        start=start,
        progress=lambda _step, _steps, loss: losses.append(loss),
    )
    return combiner, losses


def log_likelihood(combiner: Combiner, whole: Candidates, targets: NDArray[np.int32]) -> float:
    """Mean over the answers, one by one, as a softmax over candidates and "none of these"."""
    total = 0.0
    for n, target in enumerate(targets.tolist()):
        with torch.no_grad():
            part = slice(whole.starts[n], whole.starts[n + 1])
            scores = combiner(torch.from_numpy(whole.features[:, part])).double().tolist()
        by_item = dict(zip(whole.items[part].tolist(), scores, strict=True))
        none_logit = float(combiner.none_logit.detach())
        norm = sum(map(math.exp, [*scores, none_logit]))
        total += by_item.get(target, none_logit) - math.log(norm)
    return total / len(targets)


def test_a_combiner_learns_what_to_trust_and_how_often_no_candidate_is_right() -> None:
    combiner, losses = fitted()
    whole, targets = candidates(seed=9)  # others than it has learned from

    # Knowing all that can be known: own items come four times of five.
    best = 0.8 * math.log(0.8) + 0.2 * math.log(0.2)
    assert log_likelihood(combiner, whole, targets) > best - 0.3
    assert losses[-1] < 0.5 * losses[0]


def test_the_loss_is_the_likelihood_of_features_as_they_are() -> None:
    _, losses = fitted(examples=400, least_epochs=1, batch=400, learning_rate=1e-12)
    whole, targets = candidates(seed=0)
    combiner, _ = fitted(examples=400, least_epochs=1, batch=400, learning_rate=1e-12)

    assert losses == [pytest.approx(-log_likelihood(combiner, whole, targets), rel=1e-3)]


def test_a_seed_fixes_the_result() -> None:
    first, again, other = (fitted(seed, examples=800, least_epochs=1)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_fit_starts_from_a_fitted_combiner_which_stays_as_it_is() -> None:
    start = fitted()[0]
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    short: dict[str, Any] = {"examples": 400, "least_epochs": 1}

    assert fitted(start=start, **short)[1][0] < 0.6 * fitted(**short)[1][0]  # it knows more from the first step on
    features = torch.from_numpy(candidates(seed=9)[0].features)
    same, after = fitted(start=start, **short, learning_rate=1e-12)[0], fitted(start=start, **short)[0]
    with torch.no_grad():
        assert torch.allclose(same(features), start(features), atol=1e-3)
        assert same.none_logit.item() == pytest.approx(start.none_logit.item(), abs=1e-3)
        assert not torch.allclose(after(features), start(features), atol=1e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in start.state_dict().items())


def test_a_fit_from_an_identity_combiner_begins_anew() -> None:
    assert fitted(start=identity_combiner())[1] == fitted()[1]


def test_without_examples_the_ranking_is_the_networks() -> None:
    combiner = fit_combiner(joined_examples([]), CombinerConfig(), seed=1)
    features = torch.randn(len(FEATURES), 50)
    order = features[FEATURES.index("log_probability")].argsort()
    assert torch.equal(combiner(features).argsort(), order)


def test_an_identity_combiner_is_always_the_same_and_draws_nothing() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = identity_combiner().state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert all(torch.equal(tensor, first[name]) for name, tensor in identity_combiner().state_dict().items())


def test_a_combiner_without_features_scores_as_if_they_were_zero() -> None:
    given = torch.randn(len(FEATURES), 50)
    columns, whole = [OWN, TREND], drawn_combiner(1)
    blind = deepcopy(whole).without(columns)
    zeros = given.clone()
    zeros[columns] = 0
    with torch.no_grad():
        assert torch.equal(blind(given), blind(zeros))
        torch.testing.assert_close(blind(given), whole(zeros))
        assert not torch.allclose(blind(given), whole(given))
    assert torch.equal(deepcopy(whole).without([])(given), whole(given))


def test_examples_without_features_have_zeros_there_and_nowhere_else() -> None:
    given = joined_examples([Examples(*candidates(1, n=20))])
    before = given.candidates.features.copy()
    found = given.without([OWN, TREND])
    assert not found.candidates.features[[OWN, TREND]].any()
    others = [column for column in range(len(FEATURES)) if column not in (OWN, TREND)]
    np.testing.assert_array_equal(found.candidates.features[others], before[others])
    assert before[[OWN, TREND]].any()
    np.testing.assert_array_equal(found.without([]).candidates.features, found.candidates.features)


def test_more_users_who_went_to_an_item_do_not_lower_it() -> None:
    whole, _ = candidates(seed=0)
    rng = np.random.default_rng(3)
    whole.features[FOLLOWED] = rng.random(len(whole.items)) / 4  # far from what nearly all users would be
    lowest = [
        part.start + int(np.argmin(whole.features[FOLLOWED, part]))
        for part in map(slice, whole.starts[:-1].tolist(), whole.starts[1:].tolist())
    ]
    examples = Examples(whole, whole.items[lowest])  # as if those with the fewest came next
    combiner = fit_combiner(examples, CombinerConfig(examples=400 * 30, batch=50), seed=1)
    few = torch.from_numpy(whole.features[:, :1000].copy())
    many = few.clone()
    many[FOLLOWED] = 2.3
    with torch.no_grad():
        lost = combiner(few) - combiner(many)
    assert float(lost.clamp(min=0).mean()) < 0.2
