"""The fault suite's own log of events keeps apart what a log that was cut calls by the same offsets."""

from __future__ import annotations

from tests.faults.event_log import OFFSET_BITS, Cut, EventLog, LogRecord, cuts_before
from tests.faults.load import ABORTED, EVENT, EXPECT

# Partition 0 was cut at 500 and then at 300, partition 1 at 700 the second time.
CUTS = [
    Cut({0: 500}, {"predictions": {0: 80, 1: 80}}),
    Cut({0: 300, 1: 700}, {"predictions": {0: 90, 1: 95}}),
]


def record(partition: int, offset: int, value: bytes = b"", label: str = EVENT) -> LogRecord:
    return LogRecord(partition, offset, 0, None, value, [(EXPECT, label.encode())])


def test_a_record_of_the_log_was_written_after_the_last_cut_below_it() -> None:
    assert [cuts_before(CUTS, (0, offset)) for offset in (299, 300, 600)] == [0, 2, 2]
    assert [cuts_before(CUTS, (1, offset)) for offset in (699, 700)] == [0, 1]
    assert cuts_before(CUTS, (2, 10**6)) == 0
    grown = [CUTS[0], Cut({0: 550}, {})]
    assert [cuts_before(grown, (0, offset)) for offset in (499, 500, 549, 550)] == [0, 1, 1, 2]


def test_when_an_answer_was_written_says_which_record_it_answers() -> None:
    written = [(offset, cuts_before(CUTS, (0, 600), record(0, offset), "predictions")) for offset in (79, 80, 89, 90)]
    assert written == [(79, 0), (80, 1), (89, 1), (90, 2)]
    assert cuts_before(CUTS, (0, 299), record(0, 90), "predictions") == 0, "it comes once more"


def test_all_that_was_ever_written_is_kept() -> None:
    log = EventLog()
    log.add([record(0, 4, b"a"), record(0, 5, b"b"), record(1, 5, b"c"), record(1, 6, b"x", ABORTED)])
    assert log.is_whole
    log.cuts.append(Cut({0: 5}, {}))
    log.add([record(0, 4, b"a"), record(0, 5, b"d")])
    assert [(one.partition, one.offset, one.value) for one in log.records()] == [
        *((0, 4, b"a"), (0, 5, b"b"), (0, (1 << OFFSET_BITS) + 5, b"d")),
        *((1, 5, b"c"), (1, 6, b"x")),
    ]
    assert log.committed == 4
    assert not log.is_whole


def test_deleted_records_are_known() -> None:
    log = EventLog()
    log.add([record(0, 1), record(0, 2), record(1, 1)])
    log.deleted[0] = 2
    assert log.deleted_places() == {(0, 1)}
    assert not log.is_whole
