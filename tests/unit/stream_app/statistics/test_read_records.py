"""Records of the statistics' topic: the newest of each key, and the position among them."""

from __future__ import annotations

from stream_app.contract.records import OutgoingRecord
from stream_app.following.content import Origin
from stream_app.statistics.position import FORMAT, Position, position_record
from stream_app.statistics.read_records import AppliedRecords, read_records
from tests.unit.builders.basics import make_record
from tests.unit.builders.exact_counting import ExactTable


def position(written: int) -> OutgoingRecord:
    return position_record(
        Position(format=FORMAT, topic="shop.events", epoch=1, offsets={0: written}, written=written, until=written)
    )


def test_the_newest_of_each_key_counts() -> None:
    first, last = position(1), position(2)
    records = [
        make_record(b"1", key=b"a"),
        make_record(first.value, key=first.key),
        make_record(b"2", key=b"a"),
        make_record(b"9", key=b"b"),
        make_record(None, key=b"b"),
        make_record(last.value, key=last.key),
        make_record(None, key=None),
    ]
    read = read_records(records)
    assert read.counts == {b"a": b"2", b"b": None}
    assert read.position is not None
    assert read.position.offsets == {0: 2}


def test_a_table_is_filled_and_the_newest_position_stays() -> None:
    table = ExactTable()
    applied = AppliedRecords(table)
    assert applied.load(Origin("cluster", "topic"), {0: 5}, 1.0) == {}
    said = position(1)
    applied.apply([make_record(b"3", key=b"a"), make_record(said.value, key=said.key)])
    applied.apply([make_record(b"4", key=b"a"), make_record(b"1", key=b"b")])
    applied.apply([make_record(None, key=b"b")])
    assert table.counts == {b"a": 4}
    assert applied.position is not None
    assert applied.position.until == 1
    assert applied.save(Origin("cluster", "topic"), {0: 5})
