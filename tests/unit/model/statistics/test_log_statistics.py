"""A log that is complete beforehand is counted as if its events had come one after the other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from model.data.sequences import sequences_of
from model.statistics.counted_events import events_of_sequences
from model.statistics.counter import StatisticsCounter
from model.statistics.decay import decay_of_span
from model.statistics.log_statistics import counter_of
from model.statistics.statistics_table import StatisticsTable
from tests.unit.builders.logs import ROOMY, in_parts
from tests.unit.model.statistics.oracle import actions_from, assert_same_arrays, random_acts


def test_a_log_in_memory_or_in_parts_is_counted_in_the_order_of_time(tmp_path: Path) -> None:
    acts = random_acts(21, 400, items=60, users=30)
    log = sequences_of(actions_from(acts))
    by_hand = StatisticsCounter(StatisticsTable(), decay_of_span(acts[0].time, acts[-1].time))
    by_hand.learn_events(events_of_sequences(log)[0])
    with ExitStack() as files:
        for one in (log, in_parts(log, 4, ROOMY, tmp_path, files)):
            found = counter_of(one).table
            assert_same_arrays(found, by_hand.table)
            assert found.decay == by_hand.table.decay
