"""Judges event times: publishers' clocks may be wrong, and a time never reorders anything.

A time that cannot be right is replaced, for gaps and session boundaries, by the record's own timestamp or, where
that cannot be right either, by the user's last time. A user's clock is the latest time so far and never goes back.
All of this follows from records and state alone, so that reading a log again gives the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from model.data.events import NO_TIME

Flag = Literal["late", "future", "absurd"]
FLAGS: Final[tuple[Flag | None, ...]] = (None, *get_args(Flag))  # by verdict; None: the time is plausible
OK, LATE, FUTURE, ABSURD = range(len(FLAGS))

EARLIEST_MS: Final = 631_152_000_000  # the year 1990; seconds taken for milliseconds lie before it
LATEST_MS: Final = 4_102_444_800_000  # the year 2100
# How far ahead of its record an event may be, as Kafka's message.timestamp.after.max.ms. It may be any time behind it,
# because logs get replayed.
FUTURE_MS: Final = 60 * 60 * 1000
# How far behind the user's clock an event is on time: parallel publishers and a user's devices differ by minutes.
LATE_MS: Final = 5 * 60 * 1000


def judge_times(
    times: Sequence[int] | NDArray[np.int64], record_times: Sequence[int] | NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Returns the times of N events to compute with (ms; NO_TIME: unknown) and their verdicts, except for LATE."""
    given, recorded = np.array(times, np.int64), np.array(record_times, np.int64)
    dated, absurd = _plausible(recorded), ~_plausible(given)
    future = dated & (given > recorded + FUTURE_MS)
    verdicts = np.where(absurd, np.uint8(ABSURD), future * np.uint8(FUTURE))
    return np.where(verdicts == OK, given, np.where(dated, recorded, NO_TIME)), verdicts


def _plausible(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    # One comparison for two: what lies before 1990 is a large number without its sign.
    return (times - EARLIEST_MS).view(np.uint64) < LATEST_MS - EARLIEST_MS
