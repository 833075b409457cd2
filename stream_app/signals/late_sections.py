"""Sections of users' records that are made from the answers, on their way back to the users' states.

A batch is stepped before it is answered, and the next one may be stepped in between: its records do not have yet what
the batch before it has changed. So whoever encodes remembers what is new until the states have it, and the states take
it in between two batches. Nothing of a user is lost in between: who was touched by a batch that is not durable yet does
not leave memory.
"""

from __future__ import annotations

from collections import deque

from model.state.user_states import UserStates

Owner = tuple[int, str]  # partition and id of a user


class LateSections:
    """The newest sections of one tag."""

    def __init__(self, tag: int) -> None:
        self._tag = tag
        self._generation = 0  # of the group
        self._number = 0  # of the newest section
        self._newest: dict[Owner, tuple[int, bytes]] = {}  # with their numbers
        self._remembered: deque[tuple[int, Owner]] = deque()  # numbers and owners of the same, rising
        self._returning: deque[tuple[int, Owner, bytes]] = deque()  # what the states do not have yet

    def take_in(self, states: UserStates, generation: int) -> int:
        """Has states take in what is new; returns up to which number they have it now.

        For the thread that steps, before a batch. In a new generation of the group memory was emptied: nothing of the
        one before counts any more, and no batch of it is on its way.
        """
        if generation != self._generation:
            self._generation = generation
            self._returning.clear()
            self._newest.clear()
            self._remembered.clear()
        taken = [self._returning.popleft() for _ in range(len(self._returning))]
        if not taken:
            return 0
        states.set_sections([owner for _, owner, _ in taken], self._tag, [content for *_, content in taken])
        return taken[-1][0]

    def forget(self, taken: int) -> None:
        """Forgets what the states of the batch at hand have: all up to a number."""
        while self._remembered and self._remembered[0][0] <= taken:
            number, owner = self._remembered.popleft()
            if self._newest[owner][0] == number:
                del self._newest[owner]

    def newest(self, owner: Owner) -> bytes | None:
        """Returns a user's section where the states did not have it yet when the batch at hand was stepped."""
        known = self._newest.get(owner)
        return None if known is None else known[1]

    def put(self, owner: Owner, content: bytes) -> None:
        """Notes a section that the batch at hand has changed."""
        self._number += 1
        self._newest[owner] = self._number, content
        self._remembered.append((self._number, owner))
        self._returning.append((self._number, owner, content))
