"""Small rounds of training, and users who go round a circle of items."""

from __future__ import annotations

from model.data.events import Actions, Event, actions_of
from model.rounds.fit_model import FitModelConfig
from model.rounds.training_round import Round, RoundConfig, unsaved
from model.training.fit_network import TrainConfig
from model.versions.version import Version

CONFIG = RoundConfig(hidden=16, fitting=FitModelConfig(train=TrainConfig(actions=1600, batch_tokens=256)))


def circle(users: int = 40, length: int = 20, items: int = 8) -> Actions:
    """Users who go round a circle of items, one after the other."""
    events, times = [], []
    for step in range(length):
        for user in range(users):
            events.append(Event(user_id=str(user), type="view", item_id=f"i{(user + step) % items}"))
            times.append(1000 * (users * step + user))
    return actions_of(events, times)


def born_at_the_end(actions: Actions, share: float = 0.05, items: int = 3) -> Actions:
    """The same log, in which the newest share of the actions is on items that were not there before.

    Users meet one of them several times in a row.
    """
    born = round(share * len(actions))
    events = [
        Event(user_id=user, type="view", item_id=item if left > born else f"born {left % items}")
        for left, user, item in zip(range(len(actions), 0, -1), actions.users, actions.items, strict=True)
    ]
    return actions_of(events, actions.times)


def as_version(round_: Round) -> Version:
    return unsaved(round_.model)
