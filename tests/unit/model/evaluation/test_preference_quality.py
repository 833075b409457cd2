"""What preferences foresee on made-up logs, where it is known what can be foreseen."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.events import Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.evaluation.preference_quality import CONTENDERS, preference_quality
from model.profile.fitted_preferences import UNFITTED
from model.profile_fit.fit_preferences import fit_preferences
from model.training.fit_run import FitRun
from tests.unit.builders.basics import CPU, version

CUT = 8_000_000


def log_of(users: int, *, buys: bool = True) -> Sequences:
    """Everybody likes one of 20 categories, comes back to it after another one, and buys what costs little or much."""
    randomness, events, times = np.random.default_rng(1), [], []
    for user in range(users):
        own, dear = int(randomness.integers(20)), bool(randomness.integers(2))
        for step in range(10):
            category = own if step % 2 == 0 else int(randomness.integers(20))
            kind = "purchase" if buys and step % 4 == 0 else "view"
            price = (500.0 if dear else 2.0) + step
            events.append(Event(f"{user}", kind, f"item {category}", category=f"c{category}", price=price))
            times.append(1_000_000 * step + user)
    return sequences_of(actions_of(events, times))


def test_who_comes_back_is_foreseen_better_by_counts_than_by_the_last_category() -> None:
    log = log_of(300)
    fitted = fit_preferences(version().network, version().vocabulary, log.before(CUT), FitRun(CPU, 1))
    found = preference_quality(version().network, version().vocabulary, fitted, log, CUT)
    assert found.keys() == {
        "next_category", "next_price_band", "purchase_category", "purchase_week_price_band",
    }  # fmt: skip
    purchase = found["purchase_category"]
    assert purchase.keys() == set(CONTENDERS)
    assert purchase["nextact"].targets == 300
    assert purchase["counts"].log_loss < purchase["last"].log_loss
    assert purchase["counts"].log_loss < purchase["popularity"].log_loss
    assert purchase["nextact"].recall > 0.95
    assert found["next_price_band"]["nextact"].log_loss < found["next_price_band"]["popularity"].log_loss
    assert found["next_category"]["popularity"].log_loss == pytest.approx(np.log(20), abs=0.1)
    assert found["next_category"]["popularity"].recall == pytest.approx(3 / 20, abs=0.06)


def test_what_a_log_does_not_have_has_no_figure() -> None:
    log = log_of(60, buys=False)
    found = preference_quality(version().network, version().vocabulary, UNFITTED, log, CUT)
    assert found.keys() == {"next_category", "next_price_band"}
    assert found["next_category"]["nextact"].targets == 120
    assert preference_quality(version().network, version().vocabulary, UNFITTED, log_of(4), CUT) == {}
