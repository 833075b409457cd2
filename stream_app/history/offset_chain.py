"""Whether files are a history: in the order of their numbers, each begins at every offset where the one before ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from stream_app.history.files import HistoryFile, Span, Stream


@dataclass(frozen=True, slots=True)
class OffsetGap:
    """Offsets that no file answers for, and the free number of a file that would."""

    number: int
    day: str  # of the file after it
    stream: Stream
    spans: Mapping[int, Span]
    from_start: bool = False  # no file is before it, and where it begins is not known


@dataclass(slots=True)
class Chain:
    """What files are to each other, each list with the oldest first."""

    files: list[HistoryFile] = field(default_factory=list)
    covered: list[HistoryFile] = field(default_factory=list)  # another file has all of their rows
    misplaced: list[HistoryFile] = field(default_factory=list)  # they begin or end where they cannot
    holes: list[OffsetGap] = field(default_factory=list)


def check_chain(files: Sequence[HistoryFile], damaged: Sequence[int] = ()) -> Chain:
    """Sorts files, which come in the order of their numbers; where two contradict each other, the newer is believed.

    `damaged`: the numbers of those that cannot be read, and are to be read again.
    """
    chain = Chain()
    starts: dict[int, int] = {}  # where what is kept begins, by partition
    for file in reversed(files):
        newer = chain.files[0] if chain.files else None
        spans = file.facts.spans
        if newer is None or newer.facts.stream != file.facts.stream:
            starts = {}
        elif _is_within(spans, starts):
            chain.covered.insert(0, file)
            continue
        elif (hole := _between(file, newer, starts)) is None:
            chain.misplaced.insert(0, file)
            continue
        elif hole.spans:
            chain.holes.insert(0, hole)
            starts |= {partition: span.first for partition, span in hole.spans.items()}
        chain.files.insert(0, file)
        starts |= {partition: span.first for partition, span in spans.items()}
    useless = [*damaged, *(file.number for file in chain.misplaced)]
    if chain.files and min(useless, default=chain.files[0].number) < chain.files[0].number:
        chain.holes.insert(0, _before(chain.files[0], min(useless)))
    return chain


def positions(files: Sequence[HistoryFile]) -> dict[int, int]:
    """The first offset of each partition that the files of the newest stream do not answer for."""
    found: dict[int, int] = {}
    for file in files:
        if file.facts.stream == files[-1].facts.stream:
            found |= {partition: span.next for partition, span in file.facts.spans.items()}
    return found


def runs(files: Sequence[HistoryFile]) -> list[list[HistoryFile]]:
    """Neighbours of one day and one stream."""
    return [list(run) for _, run in groupby(files, key=lambda file: (file.day, file.facts.stream))]


def _is_within(spans: Mapping[int, Span], starts: Mapping[int, int]) -> bool:
    return all(partition in starts and span.first >= starts[partition] for partition, span in spans.items())


def _before(file: HistoryFile, number: int) -> OffsetGap:
    spans = {partition: Span(0, span.first) for partition, span in file.facts.spans.items()}
    return OffsetGap(number, file.day, file.facts.stream, spans, from_start=True)


def _between(older: HistoryFile, newer: HistoryFile, starts: Mapping[int, int]) -> OffsetGap | None:
    """What is missing between two files, with no spans where nothing is; None where they cannot be neighbours."""
    ends = {partition: span.next for partition, span in older.facts.spans.items()}
    # A partition that the topic was given later begins at 0.
    pairs = {p: Span(ends.get(p, 0), starts.get(p, ends.get(p, 0))) for p in {*ends, *starts}}
    if any(span.next < span.first for span in pairs.values()):
        return None
    gaps = {p: span for p, span in pairs.items() if span.next > span.first}
    if gaps and newer.number - 1 == older.number:
        return None
    return OffsetGap(newer.number - 1, newer.day, newer.facts.stream, pairs if gaps else {})
