"""One section of several users' records changes, and nothing else; some of them are picked."""

from __future__ import annotations

import numpy as np

from model.state.record_sections import rows_of, sections_of, with_section
from model.state.sections import JOINS, TIMERS, split_sections
from model.state.user_record import pack, section_of
from tests.unit.builders.basics import make_states


def test_a_section_is_replaced_where_there_is_a_new_one() -> None:
    states = make_states()
    slots = states.slots_of([0] * 3, ["a", "b", "c"])
    states.offsets[slots] = 7, 8, 9
    states.set_section(int(slots[0]), JOINS, b"notes")
    states.set_section(int(slots[0]), 77, b"unknown")
    states.set_section(int(slots[1]), TIMERS, b"before")
    records = states.snapshot(slots)
    changed = with_section(records, TIMERS, [b"new", None, b"first"])
    assert [split_sections(one) for one in sections_of(changed)] == [
        {JOINS: b"notes", TIMERS: b"new", 77: b"unknown"},
        {TIMERS: b"before"},
        {TIMERS: b"first"},
    ]
    assert pack(with_section(records, TIMERS, [None] * 3)) == pack(records)
    assert pack(rows_of(changed, [2, 0])) == [pack(changed)[2], pack(changed)[0]]
    assert section_of(pack(changed)[0], TIMERS) == b"new"
    assert section_of(pack(changed)[1], JOINS) is None
    assert np.array_equal(rows_of(changed, [1]).offsets, [8])
