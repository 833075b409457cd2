"""What counts as silence, what is expected, and who else writes a user's record: see also `pipeline/test_signals`."""

from __future__ import annotations

import json

import pytest

from model.profile.audiences import Audience, Liking
from model.state.sections import TIMERS
from model.state.user_record import section_of
from model.state.visits import read_visit
from stream_app.pipeline.batch_result import BatchResult
from stream_app.settings import load_settings
from stream_app.signals import writer as module
from stream_app.signals.due import DueUsers
from tests.unit.builders.basics import make_record
from tests.unit.builders.signals import SILENCE, START, Bench, Shopped

ANYTHING = load_settings({"signals_topic": "shop.signals", "expected_purchase": 1e-12})


def test_a_repeated_event_is_no_action_and_its_record_loses_nothing() -> None:
    bench = Bench(2)
    event = Shopped("a", "cart", "x", START)
    bench.take([bench.record(event, event_id="1")])
    bench.take([bench.record(event._replace(time=START + 60_000), event_id="1")])  # stepped before that is answered
    bench.finish()
    visit = read_visit(section_of(bench.shelf[0, "a"], TIMERS))
    assert (visit.number, visit.actions, visit.cart) == (1, 1, ["x"])
    assert len(bench.timers) == 1


def test_whoever_has_nothing_to_tell_is_a_result_without_effects() -> None:
    """As one who was looked at twice, or is no more."""
    bench = Bench(0)
    due = [DueUsers(3, ["nobody", "else"], START, "clock"), DueUsers(5, ["nobody"], START, "clock")]
    results = bench.pipeline.encode(bench.pipeline.answer(bench.pipeline.step(bench.pipeline.decode_due(due, 1))))
    assert results == [BatchResult(3, "model"), BatchResult(5, "model")]


def test_a_purchase_that_was_expected_and_did_not_come() -> None:
    bench = Bench(0, ANYTHING)
    bench.shop([Shopped("a", "view", "x", START), Shopped("b", "view", "x", START)])
    bench.shop([Shopped("b", "purchase", "x", START + 1)])
    bench.look(START + 2 * SILENCE)
    (expected,) = [signal for signal in bench.signals if signal.kind == "purchase_expected"]
    assert expected.user_id == "a"
    assert expected.purchase_probability is not None
    assert 0 < expected.purchase_probability < 1
    assert expected.timestamp == START + SILENCE


def test_what_a_prediction_says_decides_on_audiences_until_the_next_one() -> None:
    """Of predictions without segments nobody is in one; the rest is `test_said`."""
    bench = Bench(0)
    assert bench.pipeline.signals is not None
    audiences = {"few": Audience(segments=[1]), "shoes": Audience(likes=[Liking("shoes", at_least=0.1)])}
    bench.pipeline.signals.audiences = audiences
    bench.shop([Shopped("a", "view", "x", START), Shopped("b", "view", "x", START)])
    assert bench.signals == []
    with pytest.MonkeyPatch.context() as patch:
        asked: list[int] = []

        def fit(_: object, __: object, index: int) -> list[str]:
            asked.append(index)
            return ["few"]

        patch.setattr(module, "fitting_audiences", fit)
        bench.shop([Shopped("a", "view", "x", START + 1), Shopped("b", "view", "x", START + 1)])
    assert asked == [0, 1]
    assert {(signal.kind, signal.audience, signal.user_id) for signal in bench.signals} == {
        ("audience_entered", "few", "a"),
        ("audience_entered", "few", "b"),
    }
    bench.look(START + SILENCE)
    assert not [signal for signal in bench.signals if signal.kind == "audience_left"]


def test_signals_and_records_go_with_the_partition_of_their_user() -> None:
    bench = Bench(0)
    for partition in (0, 3):
        value = json.dumps({"user_id": "a", "type": "view", "item_id": "x", "timestamp": START}).encode()
        bench.take([make_record(value, key=b"a", offset=1, timestamp=START, partition=partition)])
    assert [timer[:1] for timer in bench.timers] == [(START + SILENCE,)] * 2
    assert set(bench.shelf) == {(0, "a"), (3, "a")}


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_record_that_a_join_writes_has_the_visit_too(ahead: int) -> None:
    bench = Bench(ahead)
    bench.pipeline.joins = True
    value = json.dumps({"type": "identify", "user_id": "u", "anonymous_id": "a"}).encode()
    identity = make_record(value, key=b"a", offset=50, timestamp=START)
    bench.take([bench.record(Shopped("a", "cart", "x", START)), identity])
    bench.finish()
    assert read_visit(section_of(bench.shelf[0, "a"], TIMERS)).cart == ["x"]
    bench.look(START + SILENCE)
    bench.finish()
    assert [signal.kind for signal in bench.signals] == ["visit_ended", "cart_abandoned"]
