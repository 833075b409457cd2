"""Keeps the paths of some shoppers, drawn at random: what each did, what was said, and what came then."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from stream_app.contract.predictions import Prediction
from stream_app.sandbox.story.seen_events import SeenEvent

SHOWN: Final = 20  # paths of a report
_KEPT: Final = 400  # users whose paths are kept meanwhile
_STEPS: Final = 12  # newest steps of a path
_LEAST_STEPS: Final = 3  # of a path that is worth showing, where there are enough


class Step(NamedTuple):
    """What a user did, what was published then, and what the user did next."""

    event: SeenEvent
    prediction: Prediction
    target: SeenEvent
    rank: int | None  # of the target's item among the recommended ones, from 1; None: it was not among them


@dataclass(slots=True)
class Paths:
    """The newest steps of users who are a fair sample of all so far."""

    rng: random.Random
    _paths: dict[str, deque[Step]] = field(default_factory=dict)
    _met: set[str] = field(default_factory=set)

    def add(self, step: Step) -> None:
        """Takes in a step, if its user is drawn."""
        user = step.event.user
        if user not in self._met:
            self._met.add(user)
            self._draw(user)
        if user in self._paths:
            self._paths[user].append(step)

    def clear(self) -> None:
        """Begins anew."""
        self._paths.clear()
        self._met.clear()

    def shown(self) -> list[list[Step]]:
        """Returns the paths to show, drawn from those that are long enough, or from all where these are too few."""
        users = sorted(self._paths)
        self.rng.shuffle(users)
        users.sort(key=lambda user: len(self._paths[user]) < _LEAST_STEPS)  # stable: the draw decides otherwise
        return [list(self._paths[user]) for user in users[:SHOWN]]

    def _draw(self, user: str) -> None:
        """Gives every user so far the same chance to be kept."""
        if len(self._paths) >= _KEPT:
            place = self.rng.randrange(len(self._met))
            if place >= _KEPT:
                return
            del self._paths[list(self._paths)[place]]
        self._paths[user] = deque(maxlen=_STEPS)
