"""The quality of purchase probabilities: which events are judged, and by what loss."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.data.events import Event, actions_of
from model.data.sequences import sequences_of
from model.evaluation.purchase_quality import labelled_from, log_losses

MINUTE_MS = 60_000


def test_log_losses_are_those_of_a_loop_and_never_infinite() -> None:
    chances, labels = np.array([0.25, 0.25, 0.0, 1.0], np.float32), np.array([True, False, True, False])
    losses = log_losses(chances, labels)
    assert losses[:2] == pytest.approx([-math.log(0.25), -math.log(0.75)])
    assert losses[2:] == pytest.approx([-math.log(1e-6)] * 2, rel=1e-4)


def test_what_is_judged_is_known_to_be_followed_by_a_purchase_or_not() -> None:
    """Half an hour later, and after the last action of an event: no prediction comes before that."""
    events = [Event(user_id="u", type="cart", item_id=f"i{n}") for n in range(8)]
    minutes = [0, 10, 10, 20, 40, 60, 65, 70]
    log = sequences_of(actions_of(events, [MINUTE_MS * at for at in minutes], [0, 0, 1, 0, 0, 0, 0, 0]))
    assert labelled_from(log, 5 * MINUTE_MS).tolist() == [2, 3, 4]
    assert labelled_from(log, 30 * MINUTE_MS).tolist() == [4]
    assert len(labelled_from(log, 50 * MINUTE_MS)) == 0
