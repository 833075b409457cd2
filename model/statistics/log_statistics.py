"""Counts a log that is complete beforehand, in the order of time."""

from __future__ import annotations

from typing import Final

from model.data.event_log import EventLog, latest_actions
from model.statistics.counted_events import events_of_sequences
from model.statistics.counter import StatisticsCounter
from model.statistics.decay import decay_of_span
from model.statistics.statistics_table import StatisticsTable

_AT_ONCE: Final = 8192  # actions


def counter_of(log: EventLog) -> StatisticsCounter:
    """Returns a counter that has learned a log: the newest actions, as many as there is room for."""
    counter = StatisticsCounter(StatisticsTable(), decay_of_span(*log.span))
    events, _ = events_of_sequences(latest_actions(log))
    for start in range(0, len(events.users), _AT_ONCE):
        counter.learn_events(events.select(slice(start, start + _AT_ONCE)))
    return counter
