"""A user who is asked about is answered as after an event that repeats their last one, and stays as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.data.events import Event
from model.serving.asked_users import repeated_actions
from tests.unit.builders.basics import CPU, ITEMS, Logged
from tests.unit.builders.engines import make_engines, serving_on


def test_asking_changes_nothing_and_is_answered_as_the_last_event_was() -> None:
    engines = make_engines(serving=serving_on(CPU))
    events = [Event(user_id=user, type="view", item_id=item) for user, item in zip("abab", ITEMS, strict=False)]
    for offset, event in enumerate(events):
        last = engines.advance([Logged(event, 1000 * offset, offset)])
    states, users = engines.states, ["b", "a"]
    slots = states.slots_of([3, 3], users)
    before = states.hidden[torch.from_numpy(slots)].clone(), states.histories.counts[slots].copy()
    actions = repeated_actions(states, slots, users)
    stepped = engines.state_engine.step(slots, actions, states.offsets[slots] + 1)
    answers = engines.answer(stepped).answers
    assert not stepped.events.applied.any()
    assert stepped.history_lengths.tolist() == [2, 2]
    assert torch.equal(states.hidden[torch.from_numpy(slots)], before[0])
    assert (states.histories.counts[slots] == before[1]).all()
    assert answers.items[0].tolist() == last.answers.items[0].tolist()
    assert answers.purchase[0] == pytest.approx(last.answers.purchase[0])
    assert np.isfinite(answers.probabilities).all()
