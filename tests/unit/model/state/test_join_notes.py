"""What a record remembers of joins comes back, also what an older worker wrote; other bytes are no note."""

from __future__ import annotations

import msgspec

from model.state.join_notes import JoinNotes, Source, TakenPast, notes_of, set_notes
from model.state.sections import JOINS
from tests.unit.builders.basics import CPU, make_states


def test_notes_come_back() -> None:
    states = make_states(CPU)
    slot = int(states.slots_of([0], ["u"])[0])
    assert notes_of(states, slot) == JoinNotes()
    notes = JoinNotes([Source(1, 2)], [(Source(3, 4), b"record")], [TakenPast(2**64 - 1, 6, 7)])
    set_notes(states, slot, notes)
    assert notes_of(states, slot) == notes


def test_what_lacks_a_field_or_cannot_be_read_has_none_of_it() -> None:
    states = make_states(CPU)
    slot = int(states.slots_of([0], ["u"])[0])
    states.set_section(slot, JOINS, msgspec.msgpack.encode([[[1, 2]], []]))
    assert (notes_of(states, slot).taken_in, notes_of(states, slot).past) == ([Source(1, 2)], ())
    for broken in (b"", b"\xc1", msgspec.msgpack.encode([1, 2, 3])):
        states.set_section(slot, JOINS, broken)
        assert notes_of(states, slot) == JoinNotes()
