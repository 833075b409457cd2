"""What becomes of a visit's end and of a move between audiences: one record each, on its user's partition."""

from __future__ import annotations

from model.state.visits import Visit, VisitEnd
from stream_app.contract.signals.signal import decode_signal
from stream_app.settings import load_settings
from stream_app.signals.told import ToldSignals
from tests.unit.builders.basics import unpacked


def test_an_end_is_up_to_three_signals() -> None:
    told = ToldSignals(load_settings())
    told.end((2, "u"), VisitEnd(1, 5, 6, 9, 3, [], 0.0), "clock")
    told.end((1, "v"), VisitEnd(4, 5, 6, 9, 3, ["x"], 0.75), "stream")
    batches, kinds = told.take()
    assert kinds == ["visit_ended", "visit_ended", "cart_abandoned", "purchase_expected"]
    by_partition = {partition: unpacked([batch]) for partition, batch in batches}
    assert [sent.key for sent in by_partition[2]] == [b"u"]
    ended, left, expected = [decode_signal(sent.value or b"") for sent in by_partition[1]]
    assert (ended.timestamp, ended.visit.number, ended.items, ended.measured_by) == (9, 4, None, "stream")
    assert ([item.item_id for item in left.items or ()], left.purchase_probability) == (["x"], None)
    assert (expected.items, expected.purchase_probability) == (None, 0.75)
    assert told.take() == ([], [])


def test_moves_are_counted_so_that_each_has_an_id_of_its_own() -> None:
    told, visit = ToldSignals(load_settings()), Visit(number=1, last=100, arrived=1_000)
    for names in (["a", "b"], ["b"], ["a", "b"]):
        told.move((0, "u"), visit, names, 1_500, "clock")
    ((_, batch),), kinds = told.take()
    assert kinds == ["audience_entered"] * 2 + ["audience_left", "audience_entered"]
    signals = [decode_signal(sent.value or b"") for sent in unpacked([batch])]
    assert [signal.audience for signal in signals] == ["a", "b", "a", "a"]
    assert {signal.timestamp for signal in signals} == {600}  # by the user's clock
    assert len({signal.signal_id for signal in signals}) == 4
    assert (visit.changes, visit.audiences) == (4, ["a", "b"])
