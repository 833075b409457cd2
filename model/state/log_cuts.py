"""Positions in a partition's log, which rise also where the log was cut and gives the same offsets once more.

A user's state knows the last event that it has taken in, and takes no earlier one again. After a cut (an unclean
election, a restored cluster, a topic made anew) new events have offsets that states have seen before. So a state keeps
a *position*: the offset, and in the bits above it how often the log was cut before that event was written. As long as
a log was never cut, positions are offsets.

Where a log was cut last is kept like a user of its own, under an id that no event can have, in the same changelog: it
is recovered, followed by standbys and compacted with the users, and earlier workers take it for a user.
Shapes: N events.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import NO_TIME
from model.errors import RecordCorrupt
from model.state.user_record import FIRST_VERSION, UserRecords, pack, record_position

CUT_USER: Final = ""  # the id under which a partition's cut is kept; users' ids have a character at least
_OFFSET_BITS: Final = 48  # enough for 89 years of 100,000 records a second


class LogCut(NamedTuple):
    """Where a partition's log was cut the last time; the default: it never was."""

    number: int = 0  # how often it was cut
    offset: int = 0  # records from here on were written after the last cut

    def again(self, offset: int) -> LogCut:
        """Returns the cut that follows this one."""
        return LogCut(self.number + 1, offset)

    def positions(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the positions (N,) of offsets (N,) that are in the log now.

        Those before the cut get the lowest that they can have: nobody knows after which cut they were written, and so
        no state takes them in twice.
        """
        return np.where(offsets < self.offset, offsets, (self.number << _OFFSET_BITS) + offsets)

    def offset_of(self, record: bytes, epoch: int) -> int:
        """Returns the offset that a user has seen since the last cut; -1: none, or it cannot be read."""
        try:
            of_epoch, position = record_position(record)
        except RecordCorrupt:
            return -1
        number, offset = divmod(position, 1 << _OFFSET_BITS)
        return offset if (of_epoch, number) == (epoch, self.number) else -1

    def record(self, epoch: int) -> bytes:
        """Returns the cut as a user's record, of a stream epoch: every version writes the same bytes."""
        none = np.zeros(1, np.int64)
        return pack(
            UserRecords(
                epoch=epoch,
                offsets=np.array([self.number << _OFFSET_BITS | self.offset]),
                counts=none,
                last_times=np.array([NO_TIME]),
                sessions=none.astype(np.uint64),
                weights_id=none.astype(np.uint64),
                hidden=np.zeros((1, 0), np.float16),
                event_ids=np.zeros((1, 0), np.uint64),
                item_keys=np.zeros((1, 0), np.uint64),
                contexts=np.zeros((1, 0), np.uint32),
                sizes=none,
                version=FIRST_VERSION,
            )
        )[0]


def cut_of(record: bytes | None, epoch: int) -> LogCut:
    """Reads a cut from its record, if there is any of this stream epoch. Raises `RecordCorrupt`."""
    if record is None:
        return LogCut()
    try:
        of_epoch, position = record_position(record)
    except RecordCorrupt as error:
        raise RecordCorrupt(f"where the log was cut cannot be read: {error}") from error
    return LogCut(*divmod(position, 1 << _OFFSET_BITS)) if of_epoch == epoch else LogCut()
