"""What scores foresee, as a log shows it: who left after an action, and who came back after a visit.

A visit ends with half an hour of silence, whatever sessions publishers speak of.
Shapes: A actions of the sequences.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.events import NO_TIME
from model.data.sequences import Sequences
from model.profile.scores import LEFT_AFTER_MS, RETURNS_WITHIN_MS

_NEVER: Final = np.iinfo(np.int64).max  # ms until the next action of a user who has none


class Labels(NamedTuple):
    """What came of each action, (A,) each."""

    came: NDArray[np.bool_]
    known: NDArray[np.bool_]  # whether that is final, and a prediction follows the action


def leave_labels(sequences: Sequences) -> Labels:
    """Tells after which actions nothing of their user came within half an hour.

    It is known of those that come so long before the log's end, whatever came.
    """
    times = sequences.times
    dated = times != NO_TIME
    known = dated & sequences.ends_event & (times <= _newest(times) - LEFT_AFTER_MS)
    return Labels(_silences(sequences) > LEFT_AFTER_MS, known)


def return_labels(sequences: Sequences) -> Labels:
    """Tells after which actions their user came back within a week of the end of the visit that they belong to.

    It is known of visits that end so long before the log does, whatever came.
    """
    silences, times = _silences(sequences), sequences.times
    last = np.where(silences > LEFT_AFTER_MS, np.arange(len(sequences)), len(sequences) - 1)
    last = np.minimum.accumulate(last[::-1])[::-1]  # of the visit of each action
    known = (times != NO_TIME) & sequences.ends_event & (times[last] <= _newest(times) - RETURNS_WITHIN_MS)
    return Labels(silences[last] <= RETURNS_WITHIN_MS, known)


def _silences(sequences: Sequences) -> NDArray[np.int64]:
    """Returns how long after each action its user's next one comes, ms."""
    silences = np.full(len(sequences), _NEVER)
    times = sequences.times
    dated = (times[:-1] != NO_TIME) & (times[1:] != NO_TIME)
    silences[:-1] = np.where(dated, times[1:] - np.where(dated, times[:-1], 0), 0)
    silences[sequences.offsets[1:] - 1] = _NEVER
    return silences


def _newest(times: NDArray[np.int64]) -> int:
    """Returns the newest time, far enough above NO_TIME for a week to be taken from it."""
    return max(int(times.max(initial=0)), 0)
