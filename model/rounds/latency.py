"""Measures what a prediction of a version costs, on the path that serves."""

from __future__ import annotations

import statistics
from collections.abc import Callable
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
    """Returns the median over batches of the newest actions, of which there must be some."""
    newest = actions.take(np.arange(max(0, len(actions) - _BATCHES * _BATCH), len(actions)))
    hidden = serving.network.backbone.state_size
    engine = StateEngine(UserStates(hidden=hidden, length=64, epoch=1, device=device), rules_share=0.0)
    engine.serve(serving)
    answers = AnswerEngine()
    rows = [np.arange(start, min(start + _BATCH, len(newest))) for start in range(0, len(newest), _BATCH)]
    times = [_seconds(engine, answers, newest.take(batch), clock) for batch in rows]
    return statistics.median(times[1:] or times)


def _seconds(engine: StateEngine, answers: AnswerEngine, actions: Actions, clock: Clock) -> float:
    slots = engine.slots_of([0] * len(actions), actions.users)
    first = int(engine.states.offsets.max()) + 1
    begun = clock()
    answers.answer(engine.step(slots, actions, np.arange(first, first + len(actions))))
    return (clock() - begun) / len(actions)
