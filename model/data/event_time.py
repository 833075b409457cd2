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
    dated = _plausible(recorded)
    absurd = ~_plausible(given)
    future = ~absurd & dated & (given > recorded + FUTURE_MS)
    trusted = np.where(absurd | future, np.where(dated, recorded, NO_TIME), given)
    return trusted, np.select([absurd, future], [ABSURD, FUTURE], OK).astype(np.uint8)


def user_clocks(
    users: NDArray[np.int64],
    times: NDArray[np.int64],
    last_times: NDArray[np.int64],
    applied: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Returns each user's clock after each of N events in log order, and which events came late.

    `users` are codes or slots; `times` come from `judge_times`; `last_times` is the clock of each event's user before
    these events, or NO_TIME. Only applied events move a clock.
    """
    order = np.argsort(users, kind="stable")
    first = group_starts(users[order])
    last, own = last_times[order], times[order]
    moves = np.where(applied[order], own, NO_TIME)
    after = _rising(np.where(first, np.maximum(moves, last), moves), users[order])
    before = np.where(first, last, np.roll(after, 1))
    clocks, late = np.empty_like(times), np.empty(len(times), np.bool_)
    clocks[order] = after
    late[order] = (own != NO_TIME) & (before > own + LATE_MS)
    return clocks, late


def group_starts(grouped: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Marks the first action of each group, (N,); equal codes must lie together."""
    starts = np.ones(len(grouped), np.bool_)
    starts[1:] = grouped[1:] != grouped[:-1]
    return starts


def _plausible(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (times >= EARLIEST_MS) & (times < LATEST_MS)


def _rising(times: NDArray[np.int64], users: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the latest time so far of each user; users lie together with rising codes."""
    # Ranks instead of times, so that a user's code times the number of ranks keeps the users apart.
    values, ranks = np.unique(times, return_inverse=True)
    highest = np.maximum.accumulate(users * len(values) + ranks)
    return values[highest - users * len(values)] if len(values) else times
