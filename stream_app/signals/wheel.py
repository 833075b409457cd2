"""A wheel of timers: which users are to be looked at when, in a few bytes a user.

A user is in it once, with a time that is never later than when something is due. Whoever acts stays where they are:
when their time comes they are looked at, and put where they belong by then. So an event costs the wheel nothing, and a
visit a few steps, however long it is.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Final

_LENGTH: Final = 2  # bytes in front of a user's id


class TimerWheel:
    """The timers of one partition, in slots of a second."""

    def __init__(self) -> None:
        self._slots: dict[int, bytearray] = {}  # by second, the users of it, each id behind its length
        self._seconds: list[int] = []  # a heap of the slots there are
        self._due: deque[bytes] = deque()  # users whose time has come, before they are taken
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, due: int, user: bytes) -> None:
        """Puts a user in who is due at a time (ms since the epoch): at the second after it."""
        second = due // 1000 + 1
        slot = self._slots.get(second)
        if slot is None:
            slot = self._slots[second] = bytearray()
            heapq.heappush(self._seconds, second)
        slot += len(user).to_bytes(_LENGTH, "little") + user
        self._size += 1

    def take(self, now: int, most: int) -> list[bytes]:
        """Takes up to so many users out whose time has come by `now` (ms since the epoch), the earliest first."""
        while len(self._due) < most and self._seconds and self._seconds[0] * 1000 <= now:
            self._due.extend(_users(self._slots.pop(heapq.heappop(self._seconds))))
        taken = [self._due.popleft() for _ in range(min(most, len(self._due)))]
        self._size -= len(taken)
        return list(dict.fromkeys(taken))


def _users(slot: bytearray) -> Iterator[bytes]:
    at = 0
    while at < len(slot):
        begin = at + _LENGTH
        at = begin + int.from_bytes(slot[at:begin], "little")
        yield bytes(slot[begin:at])
