"""Sections that come back late: whoever encodes sees the newest, whichever batches were stepped in between."""

from __future__ import annotations

from model.state.sections import TIMERS
from stream_app.signals.late_sections import LateSections
from tests.unit.builders.basics import make_states


def test_what_is_new_is_remembered_until_a_stepped_batch_has_it() -> None:
    states, sections = make_states(), LateSections(TIMERS)
    (slot,) = states.slots_of([3], ["u"]).tolist()
    assert sections.take_in(states, 1) == 0
    sections.put((3, "u"), b"first")
    sections.put((3, "gone"), b"left memory")
    sections.forget(0)  # of a batch that was stepped before
    assert sections.newest((3, "u")) == b"first"
    assert sections.newest((4, "u")) is None
    taken = sections.take_in(states, 1)
    assert states.section(slot, TIMERS) == b"first"
    sections.put((3, "u"), b"second")  # by a batch that was stepped before the first came back
    sections.forget(taken)
    assert sections.newest((3, "u")) == b"second"
    assert sections.newest((3, "gone")) is None
    sections.forget(sections.take_in(states, 1))
    assert sections.newest((3, "u")) is None
    assert states.section(slot, TIMERS) == b"second"


def test_nothing_of_an_older_generation_comes_back() -> None:
    states, sections = make_states(), LateSections(TIMERS)
    sections.take_in(states, 1)
    sections.put((3, "u"), b"of before")
    (slot,) = states.slots_of([3], ["u"]).tolist()
    states.set_section(slot, TIMERS, b"of the store")
    assert sections.take_in(states, 2) == 0
    assert sections.newest((3, "u")) is None
    assert states.section(slot, TIMERS) == b"of the store"
