"""Where reading goes on in a log that does not have an offset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.log_range import LogRange, gap_to


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 60))
def test_reading_goes_on_at_the_nearest_offset_of_the_log(start: int, records: int, wanted: int) -> None:
    log = LogRange(start, start + records)
    gap = gap_to(log, wanted)
    offsets = range(log.start, log.end + 1)  # with that of the next record
    if wanted in offsets:
        assert gap is None
    else:
        assert gap is not None
        assert gap.next == min(offsets, key=lambda offset: abs(offset - wanted))
        assert gap.records == len(range(min(wanted, gap.next), max(wanted, gap.next)))
        assert (gap.reason == "retention") == (wanted < gap.next)


def test_a_gap_says_how_many_records_are_gone_and_what_to_do() -> None:
    assert "offsets 2 to 6 were deleted before they were answered: 5 records" in str(gap_to(LogRange(7, 9), 2))
    cut = str(gap_to(LogRange(0, 10), 1000))
    assert "the log ends at offset 10, but offset 1000 was reached before: 990 offsets are gone" in cut
    assert "NEXTACT_STREAM_EPOCH" in cut
