"""Measures what a prediction of a version costs, on the path that serves."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np
import torch

from model.data.events import Actions
from model.serving.answer_engine import AnswerEngine
from model.serving.serving import Serving
from model.serving.state_engine import StateEngine
from model.state.user_states import UserStates

_BATCH: Final = 512  # events
_BATCHES: Final = 6  # the first one warms up

Clock = Callable[[], float]  # seconds


def seconds_per_event(serving: Serving, actions: Actions, *, device: torch.device, clock: Clock) -> float:
    """Returns the median over batches of the newest events, of which there must be some."""
    newest = actions.in_sequences()
    begins = np.flatnonzero(newest.lines == 0)[-_BATCHES * _BATCH :]  # of an event that is not there whole, nothing
    hidden = serving.network.backbone.state_size
    engine = StateEngine(UserStates(hidden=hidden, length=64, epoch=1, device=device), rules_share=0.0)
    engine.serve(serving)
    answers = AnswerEngine()
    batches = pairwise([*begins[::_BATCH], len(newest)])
    times = [_seconds(engine, answers, newest.take(np.arange(*batch)), clock) for batch in batches]
    return statistics.median(times[1:] or times)


def _seconds(engine: StateEngine, answers: AnswerEngine, actions: Actions, clock: Clock) -> float:
    slots = engine.slots_of([0] * len(actions), actions.users)
    events = np.cumsum(actions.lines == 0)
    offsets = int(engine.states.offsets.max()) + events
    begun = clock()
    answers.answer(engine.step(slots, actions, offsets))
    return float((clock() - begun) / events[-1])
