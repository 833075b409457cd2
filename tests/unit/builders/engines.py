"""Both halves of an engine, on small batches of logged events."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from model.data.events import Actions, Event, actions_of
from model.network.backbones import BackboneName
from model.serving.answer_engine import AnswerEngine
from model.serving.answers import Answers
from model.serving.online_scores import BatchScores
from model.serving.serving import Serving, serve
from model.serving.state_engine import StateEngine, SteppedEvents
from model.state.user_states import RecordLookup, UserStates, nothing_stored
from tests.unit.builders.basics import CPU, ITEMS, Logged, make_states, make_version


class BatchOutcome(NamedTuple):
    """What came of a batch, or of one version's share of it."""

    stepped: SteppedEvents
    answers: Answers
    scores: BatchScores


class Engines:
    """A state engine and an answer engine in one thread."""

    def __init__(self, states: UserStates, *, rules_share: float, serving: Serving | None = None) -> None:
        self.states = states
        self.state_engine, self.answer_engine = StateEngine(states, rules_share=rules_share), AnswerEngine()
        if serving is not None:
            self.state_engine.serve(serving)

    def advance(self, batch: list[Logged]) -> BatchOutcome:
        """Steps and answers a batch that one version or the rules serve."""
        return self.answer(self.step(batch))

    def advance_shares(self, batch: list[Logged]) -> list[BatchOutcome]:
        """Steps and answers a batch: an outcome for each version."""
        return [self.answer(stepped) for stepped in self.state_engine.step_all(*self._columns(batch))]

    def step(self, batch: list[Logged]) -> SteppedEvents:
        return self.state_engine.step(*self._columns(batch))

    def answer(self, stepped: SteppedEvents) -> BatchOutcome:
        return BatchOutcome(stepped, *self.answer_engine.answer(stepped))

    def _columns(self, batch: list[Logged]) -> tuple[np.ndarray, Actions, np.ndarray]:
        columns = zip(*((logged.event, logged.time, logged.line) for logged in batch), strict=True)
        events, times, lines = map(list, columns) if batch else ([], [], [])
        actions = actions_of(events, times, lines)
        slots = self.state_engine.slots_of([logged.partition for logged in batch], actions.users)
        return slots, actions, np.array([logged.offset for logged in batch], np.int64)


@cache
def serving_on(
    device: torch.device,
    *,
    name: str = "v1",
    items: tuple[str, ...] = ITEMS,
    seed: int = 0,
    backbone: BackboneName = "gru",
) -> Serving:
    return serve(make_version(items, name=name, seed=seed, backbone=backbone), device)


def make_engines(
    device: torch.device = CPU,
    serving: Serving | None = None,
    *,
    rules_share: float = 0.5,
    most: int = 2**31,
    stored: RecordLookup = nothing_stored,
) -> Engines:
    return Engines(make_states(device, most=most, stored=stored), rules_share=rules_share, serving=serving)


def view(n: int, user: str = "a", item: str = "item 1", event_id: str | None = None, type: str = "view") -> Logged:
    return Logged(Event(user_id=user, type=type, item_id=item, event_id=event_id), 1000 * n, n)
