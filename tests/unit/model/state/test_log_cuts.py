"""Positions rise with each record that is written, whatever offsets a log that is cut gives them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import RecordCorrupt
from model.state.log_cuts import CUT_USER, LogCut, cut_of
from model.state.user_record import record_position, unpack
from model.state.user_states import EVENT_ID_WINDOW, UserStates
from tests.unit.builders.basics import HIDDEN, Shelf, make_states


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), max_size=6))
def test_what_is_written_after_a_cut_has_higher_positions_than_all_before(cuts: list[tuple[int, int]]) -> None:
    log, cut = list[int](), LogCut()  # of each offset, the position when it was written
    newest = -1
    for records, lost in cuts:
        for _ in range(records):
            (position,) = cut.positions(np.array([len(log)])).tolist()
            assert position > newest
            newest = position
            log.append(position)
        log = log[: max(len(log) - lost, 0)]
        cut = cut.again(len(log))
    before = np.arange(len(log))
    assert (cut.positions(before) <= newest).all()  # answered, or passed over: none of them is new
    assert (cut.positions(before + len(log)) > newest).all() or not cuts


def test_positions_are_offsets_where_the_log_was_never_cut() -> None:
    offsets = np.array([0, 5, 2**40])
    assert LogCut().positions(offsets).tolist() == offsets.tolist()


def test_a_cut_is_read_as_it_was_written_and_another_epoch_has_none() -> None:
    cut = LogCut(3, 12_345)
    record = cut.record(epoch=7)
    assert cut_of(record, 7) == cut
    assert cut_of(record, 8) == cut_of(None, 7) == LogCut()
    assert record_position(cut.again(5).record(7)) > record_position(record)  # so that recovery keeps the last one
    with pytest.raises(RecordCorrupt, match="where the log was cut cannot be read"):
        cut_of(record[:-1], 7)


def test_an_earlier_worker_takes_a_cut_for_a_user_without_a_history() -> None:
    stored = unpack([LogCut(1, 5).record(epoch=1)], epoch=1, hidden=HIDDEN, ids=EVENT_ID_WINDOW)
    assert not stored.faults
    assert (stored.rows["offset"].tolist(), stored.rows["count"].tolist()) == ([(1 << 48) + 5], [0])


def test_states_find_cuts_with_the_users_once_per_assignment() -> None:
    shelf = Shelf({(3, CUT_USER): LogCut(1, 10).record(epoch=1)})
    states: UserStates = make_states(stored=shelf)

    def positions() -> list[int]:
        found: list[int] = states.positions([3, 3, 4], np.array([9, 10, 10])).tolist()
        return found

    cut = 1 << 48
    assert positions() == [9, cut + 10, 10]
    shelf[3, CUT_USER] = LogCut(2, 4).record(epoch=1)
    assert positions() == [9, cut + 10, 10]
    states.clear()
    assert positions() == [2 * cut + 9, 2 * cut + 10, 10]
    states.cut(4, LogCut(1, 10))
    assert positions() == [2 * cut + 9, 2 * cut + 10, cut + 10]
