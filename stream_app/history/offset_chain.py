"""Checks that files form a history: each begins at the offsets where the file with the number before it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from stream_app.history.files import HistoryFile, Span, Stream


@dataclass(frozen=True, slots=True)
class OffsetGap:
    """Offsets that no file covers, and the free number for a file that will."""

    number: int
    day: str  # the day of the file after it
    stream: Stream
    spans: Mapping[int, Span]
    from_start: bool = False  # no file comes before it, so its first offsets are not known


@dataclass(slots=True)
class Chain:
    """Files sorted by what they are to each other; each list has the oldest first."""

    files: list[HistoryFile] = field(default_factory=list)
    covered: list[HistoryFile] = field(default_factory=list)  # another file has all of their rows
    misfits: list[HistoryFile] = field(default_factory=list)  # their offsets contradict those of their neighbours
    gaps: list[OffsetGap] = field(default_factory=list)


def check_chain(files: Sequence[HistoryFile], damaged: Sequence[int] = ()) -> Chain:
    """Sorts files, which come in the order of their numbers; of two that contradict each other the newer one counts.

    `damaged`: the numbers of files that cannot be read, whose events are to be read from Kafka again.
    """
    chain = Chain()
    starts: dict[int, int] = {}  # the first offset of the files in the chain so far, by partition
    for file in reversed(files):
        newer = chain.files[0] if chain.files else None
        spans = file.metadata.spans
        if newer is None or newer.metadata.stream != file.metadata.stream:
            starts = {}
        elif _is_within(spans, starts):
            chain.covered.insert(0, file)
            continue
        elif (gap := _between(file, newer, starts)) is None:
            chain.misfits.insert(0, file)
            continue
        elif gap.spans:
            chain.gaps.insert(0, gap)
            starts |= {partition: span.first for partition, span in gap.spans.items()}
        chain.files.insert(0, file)
        starts |= {partition: span.first for partition, span in spans.items()}
    unusable = [*damaged, *(file.number for file in chain.misfits)]
    if chain.files and min(unusable, default=chain.files[0].number) < chain.files[0].number:
        chain.gaps.insert(0, _before(chain.files[0], min(unusable)))
    return chain


def positions(files: Sequence[HistoryFile]) -> dict[int, int]:
    """Returns the first offset after the files of the newest stream, by partition."""
    ends: dict[int, int] = {}
    for file in files:
        if file.metadata.stream == files[-1].metadata.stream:
            ends |= {partition: span.next for partition, span in file.metadata.spans.items()}
    return ends


def runs(files: Sequence[HistoryFile]) -> list[list[HistoryFile]]:
    """Groups neighbouring files of the same day and stream."""
    return [list(run) for _, run in groupby(files, key=lambda file: (file.day, file.metadata.stream))]


def _is_within(spans: Mapping[int, Span], starts: Mapping[int, int]) -> bool:
    return all(partition in starts and span.first >= starts[partition] for partition, span in spans.items())


def _before(file: HistoryFile, number: int) -> OffsetGap:
    spans = {partition: Span(0, span.first) for partition, span in file.metadata.spans.items()}
    return OffsetGap(number, file.day, file.metadata.stream, spans, from_start=True)


def _between(older: HistoryFile, newer: HistoryFile, starts: Mapping[int, int]) -> OffsetGap | None:
    """Returns the gap between two files, without spans if nothing is missing; None if they cannot be neighbours."""
    ends = {partition: span.next for partition, span in older.metadata.spans.items()}
    # A partition that was added to the topic later begins at 0.
    pairs = {p: Span(ends.get(p, 0), starts.get(p, ends.get(p, 0))) for p in {*ends, *starts}}
    if any(span.next < span.first for span in pairs.values()):
        return None
    gaps = {p: span for p, span in pairs.items() if span.next > span.first}
    if gaps and newer.number - 1 == older.number:
        return None
    return OffsetGap(newer.number - 1, newer.day, newer.metadata.stream, pairs if gaps else {})
