"""What others would have said: rules that learn live, and what is popular. The rules are a worker's own, fed alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from model.data.covisits import COVISIT_WINDOW
from model.data.events import item_key
from model.serving.rules import Rules
from stream_app.sandbox.story.seen_events import SeenEvent

LISTED: Final = 20  # items that each may say


class OtherLists(NamedTuple):
    """What the rules say after an event, as keys of items, best first."""

    rules: Sequence[int]
    popular: Sequence[int]


class LiveRules:
    """Learns from every event in the order in which it is read, and says what comes next for its user."""

    def __init__(self) -> None:
        self._rules = Rules()
        self._popular = Rules()  # which learn no transitions; asking the others would change when they look again
        self._recent: dict[str, list[int]] = {}  # keys of each user's items, the latest first

    def learn(self, event: SeenEvent) -> None:
        """Learns from an event."""
        recent = self._recent.setdefault(event.user, [])
        if event.item is not None:
            key = item_key(event.item)
            self._rules.learn(recent, key, event.item)
            self._popular.learn((), key, event.item)
            recent.insert(0, key)
            del recent[COVISIT_WINDOW:]

    def lists(self, user: str) -> OtherLists:
        """Returns what the rules say of a user now."""
        recent = self._recent.get(user, ())
        return OtherLists(self._rules.rank(recent, LISTED), self._popular.popular(LISTED))
