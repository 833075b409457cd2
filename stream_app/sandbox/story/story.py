"""Joins each event with what was published after the event of its user before it, and counts who was right.

Events and predictions may come in any order of each other; those of a partition come in theirs.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from model.data.events import item_key
from stream_app.contract.predictions import Prediction
from stream_app.sandbox.story.others import LISTED, LiveRules, OtherLists
from stream_app.sandbox.story.outcomes import Outcome, Outcomes
from stream_app.sandbox.story.paths import Paths, Step
from stream_app.sandbox.story.seen_events import Place, SeenEvent

_REPEATS: Final = 16  # newest ids of a user's events, which are not counted twice
_BASELINE: Final = "baseline"  # `model_version` of predictions before the first trained version

RivalLists = Callable[[str, int], Sequence[str] | None]  # what a user was shown last before a time (ms); None: nothing


class _Pair(NamedTuple):
    """A target, and what others had said before it."""

    before: SeenEvent
    target: SeenEvent
    others: OtherLists


@dataclass(slots=True)
class _User:
    """What is known of a user."""

    latest: SeenEvent | None = None
    others: OtherLists | None = None  # after the latest event, where that is live
    ids: deque[str] = field(default_factory=lambda: deque(maxlen=_REPEATS))


class Story:
    """Takes in events and predictions, and keeps outcomes and paths of those in the live part."""

    def __init__(
        self, rng: random.Random, *, rival: RivalLists | None = None, categories: Callable[[str], str] | None = None
    ) -> None:
        """`categories` gives an item's category ("": none) where the event does not say it."""
        self.outcomes, self.paths = Outcomes(), Paths(rng)
        self.has_rival = rival is not None
        self._rival, self._categories = rival, categories or (lambda _item: "")
        self._rules = LiveRules()
        self._users: dict[str, _User] = {}
        self._answers: dict[Place, Prediction] = {}  # to the latest event of each user
        self._waiting: dict[Place, _Pair] = {}  # targets whose answer was not read yet
        self._passed: set[Place] = set()  # events whose answers nobody waits for, though they were not read yet
        self._items: set[str] = set()
        self._trained = False  # whether a trained version has answered
        self._known: tuple[frozenset[str], frozenset[str]] | None = None  # users and items; None: it is not live yet

    def begin_live(self) -> None:
        """Counts from here on; who and what has come so far is known."""
        self._known = frozenset(self._users), frozenset(self._items)

    def take_event(self, event: SeenEvent) -> None:
        """Takes in an event."""
        user = self._users.setdefault(event.user, _User())
        if event.event_id is not None:
            if event.event_id in user.ids:  # a publisher's repeat: answered, but it is no step
                self._pass(event.place)
                return
            user.ids.append(event.event_id)
        if user.latest is not None:
            self._leave(user.latest, event, user.others or self._rules.lists(event.user))
        self._rules.learn(event)
        user.others = None if self._known is None else self._rules.lists(event.user)
        user.latest = event
        if event.item is not None:
            self._items.add(event.item)

    def take_prediction(self, prediction: Prediction) -> None:
        """Takes in a prediction; one that comes again changes nothing."""
        place = Place(prediction.source.partition, prediction.source.offset)
        if (pair := self._waiting.pop(place, None)) is not None:
            self._count(pair, prediction)
        elif place in self._passed:
            self._passed.discard(place)
        else:
            user = self._users.get(prediction.user_id)
            latest = None if user is None else user.latest
            if latest is None or latest.place.partition != place.partition or latest.place.offset <= place.offset:
                self._answers[place] = prediction

    def _leave(self, before: SeenEvent, event: SeenEvent, others: OtherLists) -> None:
        """Scores the answer to an event by the user's next one, or forgets it."""
        if not event.is_target:
            self._pass(before.place)
            return
        pair = _Pair(before, event, others)
        prediction = self._answers.pop(before.place, None)
        if prediction is None:
            self._waiting[before.place] = pair
        else:
            self._count(pair, prediction)

    def _pass(self, place: Place) -> None:
        if self._answers.pop(place, None) is None:
            self._passed.add(place)

    def _count(self, pair: _Pair, prediction: Prediction) -> None:
        target = pair.target
        if self._known is None or target.item is None:
            return
        known_users, known_items = self._known
        said = [one.item_id for one in prediction.recommendations[:LISTED]]
        shown = self._rival(target.user, target.time) if self._rival is not None else None
        key = item_key(target.item)
        by_rules = prediction.model_version == _BASELINE
        self.outcomes.add(
            Outcome(
                user=target.user,
                category=target.category or self._categories(target.item),
                new_user=target.user not in known_users,
                new_item=target.item not in known_items,
                by_rules=by_rules,
                listed=shown is not None,
                found={
                    "nextact": target.item in said,
                    "rival": target.item in (shown or ())[:LISTED],
                    "rules": key in pair.others.rules,
                    "popularity": key in pair.others.popular,
                },
            )
        )
        if not by_rules and not self._trained:
            self._trained = True
            self.paths.clear()
        if by_rules != self._trained:
            rank = said.index(target.item) + 1 if target.item in said else None
            self.paths.add(Step(pair.before, prediction, target, rank))
