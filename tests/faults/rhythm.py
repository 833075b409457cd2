"""How a user comes and goes, followed plainly as the documentation of the record has it. Shares no code with what it
judges."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_PURCHASE: Final = 2  # type code
_SILENCE: Final = 1_800  # seconds, of more of which a visit ends
# first, began, last (seconds since the epoch), actions, visits, of_visit, gap, gap_before (seconds), purchases, segment
_SECTION: Final = struct.Struct("<9IH")


@dataclass
class Rhythm:
    """Of one user; times in seconds since the epoch, 0: unknown."""

    first: int = 0
    began: int = 0
    last: int = 0
    actions: int = 0
    visits: int = 0
    of_visit: int = 0
    gap: int = 0
    gap_before: int = 0
    purchases: int = 0

    def act(self, code: int, clock: int) -> None:
        """Follows an action of this type by the user's clock, ms."""
        now = max(0, clock) // 1000
        if not self.actions:
            self.first = self.began = now
            self.visits = 1
        elif now and self.last and now - self.last > _SILENCE:
            self.gap_before, self.gap, self.began, self.of_visit = self.gap, now - self.last, now, 0
            self.visits += 1
        self.last = max(self.last, now)
        self.actions += 1
        self.of_visit += 1
        self.purchases += code == _PURCHASE


def read_rhythm(section: bytes | None) -> Rhythm | None:
    """What a record has; None: nothing."""
    if section is None:
        return None
    *numbers, _segment = _SECTION.unpack_from(section)
    return Rhythm(*numbers)


def differs(found: Rhythm | None, wanted: Rhythm) -> str | None:
    """What is wrong with a rhythm; None: nothing.

    One that was begun from the last actions of an older record knows the times of these about; then only counts are
    compared.
    """
    if found is None:
        return None
    if found.first == wanted.first:
        return None if found == wanted else f"{found}, not {wanted}"
    return None if (found.actions, found.last) == (wanted.actions, wanted.last) else f"{found}, not {wanted}"
