"""An engine on small batches of logged events."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.data.events import Event, actions_of
from model.serving.answers import Answers
from model.serving.engine import Fold, Stepped
from model.serving.online_scores import BatchScores
from tests.unit.builders.basics import (
    Logged,
)


class Advanced(NamedTuple):
    """What a batch came to."""

    stepped: Stepped
    answers: Answers
    scored: BatchScores


def advance(fold: Fold, batch: list[Logged]) -> Advanced:
    return answered(fold, step(fold, batch))


def answered(fold: Fold, stepped: Stepped) -> Advanced:
    return Advanced(stepped, *fold.answer(stepped))


def step(fold: Fold, batch: list[Logged]) -> Stepped:
    actions = actions_of([logged.event for logged in batch], [logged.time for logged in batch])
    slots = fold.slots_of([logged.partition for logged in batch], actions.users)
    return fold.step(slots, actions, np.array([logged.offset for logged in batch], np.int64))


def view(n: int, user: str = "a", item: str = "item 1", event_id: str | None = None, type: str = "view") -> Logged:
    return Logged(Event(user_id=user, type=type, item_id=item, event_id=event_id), 1000 * n, n)
