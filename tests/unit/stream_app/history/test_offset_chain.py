"""Chains of files: which count, which another one covers, and which offsets are missing between them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream_app.history.files import FileMetadata, HistoryFile, Span, Stream, name_of
from stream_app.history.offset_chain import OffsetGap, check_chain, positions, runs
from tests.unit.builders.histories import STREAM

NEXT_EPOCH = Stream("cluster-2", "shop.events", 2)
DAY = "2026-01-02"


def file(number: int, spans: dict[int, tuple[int, int]], *, day: str = DAY, stream: Stream = STREAM) -> HistoryFile:
    metadata = FileMetadata(stream, {partition: Span(*span) for partition, span in spans.items()}, written=number)
    return HistoryFile(name_of(number, day), size=1, rows=1, metadata=metadata)


def gap(number: int, spans: dict[int, tuple[int, int]], **fields: Any) -> OffsetGap:
    return OffsetGap(number, DAY, STREAM, {partition: Span(*span) for partition, span in spans.items()}, **fields)


def test_files_that_follow_each_other_are_a_chain() -> None:
    files = [file(1, {0: (0, 5)}), file(2, {0: (5, 5), 1: (0, 3)}), file(3, {0: (5, 9), 1: (3, 4)})]
    chain = check_chain(files)
    assert (chain.files, chain.covered, chain.misfits, chain.gaps) == (files, [], [], [])
    assert positions(chain.files) == {0: 9, 1: 4}
    assert check_chain([]).files == []


def test_a_missing_file_is_a_gap_with_its_number_and_offsets() -> None:
    chain = check_chain([file(1, {0: (0, 5)}), file(3, {0: (7, 9), 1: (2, 4)})])
    assert chain.gaps == [gap(2, {0: (5, 7), 1: (0, 2)})]
    assert [one.number for one in chain.files] == [1, 3]


def test_a_partition_without_missing_offsets_is_in_the_gap_too() -> None:
    (only,) = check_chain([file(1, {0: (0, 5), 1: (0, 2)}), file(4, {0: (7, 9), 1: (2, 4)})]).gaps
    assert only == gap(3, {0: (5, 7), 1: (2, 2)})


def test_a_missing_number_without_missing_offsets_is_not_a_gap() -> None:
    assert check_chain([file(1, {0: (0, 5)}), file(7, {0: (5, 9)})]).gaps == []


def test_a_file_that_a_merged_one_covers_does_not_count() -> None:
    first, second, merged = file(1, {0: (0, 5)}), file(2, {0: (5, 7)}), file(3, {0: (0, 9)})
    chain = check_chain([first, second, merged])
    assert (chain.files, chain.covered) == ([merged], [first, second])


def test_of_two_files_that_contradict_each_other_the_newer_one_counts() -> None:
    older, newer = file(1, {0: (0, 8)}), file(2, {0: (5, 9)})
    chain = check_chain([older, newer])
    assert (chain.files, chain.misfits) == ([newer], [older])
    assert chain.gaps == [gap(1, {0: (0, 5)}, from_start=True)], "its events are to be read again"


def test_neighbours_without_a_free_number_between_them_cannot_have_a_gap() -> None:
    older, newer = file(1, {0: (0, 4)}), file(2, {0: (5, 9)})
    assert check_chain([older, newer]).misfits == [older]


def test_damage_before_the_first_file_is_a_gap_from_the_start() -> None:
    files = [file(2, {0: (5, 9)}), file(3, {0: (9, 9)})]
    assert check_chain(files).gaps == [], "nobody knows of a file before it"
    assert check_chain(files, damaged=[1]).gaps == [gap(1, {0: (0, 5)}, from_start=True)]
    assert check_chain(files, damaged=[4]).gaps == []


def test_a_new_stream_begins_a_chain_of_its_own() -> None:
    files = [file(1, {0: (0, 5)}), file(2, {0: (0, 3)}, stream=NEXT_EPOCH)]
    chain = check_chain(files)
    assert (chain.files, chain.gaps) == (files, [])
    assert positions(files) == {0: 3}


def test_runs_are_of_one_day_and_one_stream() -> None:
    files = [
        file(1, {}, day="2026-01-02"),
        file(2, {}, day="2026-01-02"),
        file(3, {}, day="2026-01-03"),
        file(4, {}, day="2026-01-03", stream=NEXT_EPOCH),
        file(5, {}, day="2026-01-02", stream=NEXT_EPOCH),
    ]
    assert [[one.number for one in run] for run in runs(files)] == [[1, 2], [3], [4], [5]]


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), min_size=1, max_size=8), st.data())
def test_whatever_is_lost_in_the_middle_is_in_the_gaps(growth: list[list[int]], data: st.DataObject) -> None:
    """Files read two partitions on; all but the first and the last may be lost. Files and gaps cover every offset."""
    files, ends = [], [0, 0]
    for number, counts in enumerate(growth, 1):
        files.append(file(number, {p: (ends[p], ends[p] + counts[p]) for p in (0, 1)}))
        ends = [end + count for end, count in zip(ends, counts, strict=True)]
    lost = data.draw(st.sets(st.integers(2, max(2, len(files) - 1))))
    chain = check_chain([one for one in files if one.number not in lost or one is files[-1]])
    spans = [one.metadata.spans for one in chain.files] + [one.spans for one in chain.gaps]
    for partition in (0, 1):
        covered = sorted(offset for of in spans for offset in range(of[partition].first, of[partition].next))
        assert covered == list(range(ends[partition]))
