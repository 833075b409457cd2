"""What the topic says counts, the newest of each name, and whom a change concerns is looked at."""

from __future__ import annotations

import logging

import pytest

from model.profile.audiences import HOUR_MS, Audience, Range
from model.state.sections import TIMERS
from model.state.user_record import pack
from model.state.visits import Visit, written_visit
from stream_app.contract.signals.audiences import encode_audience
from stream_app.following.content import Origin
from stream_app.settings import load_settings
from stream_app.signals.audiences import AudiencesFollower, KnownAudiences
from tests.unit.builders.basics import make_record, make_states

CARTS, LOST = Audience(cart_open=True), Audience(idle_hours=Range(at_least=24))
NOW = 1_700_000_000_000


def record(visit: Visit) -> bytes:
    states = make_states()
    slots = states.slots_of([0], ["u"])
    states.set_section(int(slots[0]), TIMERS, written_visit(visit))
    return pack(states.snapshot(slots))[0]


def test_records_replace_each_other_by_name(caplog: pytest.LogCaptureFixture) -> None:
    known = KnownAudiences()
    assert known.load(Origin("", ""), {0: 3}, 0.0) == {}
    first = known.current
    assert known.apply([make_record(encode_audience(CARTS), key=b"b"), make_record(encode_audience(LOST), key=b"a")])
    assert (first, known.current) == ({}, {"a": LOST, "b": CARTS})
    assert list(known.current) == ["a", "b"]
    assert not known.apply([make_record(encode_audience(CARTS), key=b"b"), make_record(b"{", key=b"a", offset=7)])
    assert "offset 7" in caplog.text
    assert known.apply([make_record(None, key=b"a"), make_record(None, key=b"unknown")])
    assert known.current == {"b": CARTS}
    assert known.save(Origin("", ""), {0: 3})


def test_who_belongs_to_others_by_now_is_looked_at_now() -> None:
    known = KnownAudiences()
    silent = Visit(number=1, arrived=NOW - HOUR_MS, due=NOW + 5, ends=NOW + 5)
    left = Visit(number=1, arrived=NOW - HOUR_MS, cart=["x"])
    assert [known.due_in(record(visit), NOW) for visit in (silent, left, Visit())] == [NOW + 5, 0, 0]
    known.current = {"carts": CARTS}
    assert [known.due_in(record(visit), NOW) for visit in (silent, left, Visit())] == [NOW + 5, NOW, 0]
    left.audiences = ["carts"]
    assert known.due_in(record(left), NOW) == 0
    known.current = {"carts": CARTS, "lost": LOST}
    assert known.due_in(record(left), NOW) == NOW  # to be looked at a day later
    left.due = left.arrived + 24 * HOUR_MS
    assert known.due_in(record(left), NOW) == left.due
    known.current = {}
    assert known.due_in(record(left), NOW) == NOW
    assert known.due_in(b"damaged", NOW) == 0


def test_changes_are_handed_on_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told: list[object] = []
    settings = load_settings({"signals_topic": "shop.signals"})
    follower = AudiencesFollower(settings, "worker", told.append)
    for _ in range(2):
        follower._note(follower.known.apply([make_record(encode_audience(CARTS), key=b"carts")]))
    assert told == [{"carts": CARTS}]
    assert "1 audiences: carts" in caplog.text
