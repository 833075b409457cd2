"""What becomes of a partition whose log does not have the offset at which this worker wants to go on.

Kafka names no reason when it refuses an offset; where the log begins and ends shows it.

*Before the beginning*: records were deleted before they were read, by retention or by hand. Nobody can answer them
any more, so they are counted, and the worker goes on with the oldest record that is left.

*Beyond the end*: the log was cut, or is another one. A broker without the last records was elected, a cluster was
restored from a copy, or the topic was made anew under the group's old offsets. From the end on the log gives offsets to
new records that it had given before, and to a state that knows later offsets these would be replays: never answered.
The worker goes on at the end, so that each record written from now on is answered, and has the state forget that it has
seen these offsets (`cut_logs`). Nobody can tell which of the records before the end were written after the cut and
before it was noticed: they are not answered, which the log says. The count is of the offsets that are gone.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

MissedReason = Literal["retention", "truncated"]
MISSED_REASONS: Final[tuple[MissedReason, ...]] = get_args(MissedReason)


class LogRange(NamedTuple):
    """Which offsets a partition's log has."""

    start: int  # of the oldest record
    end: int  # that the next record will have


class OffsetGap(NamedTuple):
    """The way from an offset that a log does not have to the one where reading goes on."""

    reason: MissedReason
    wanted: int  # offset where the next fetch should have begun
    next: int  # offset where it begins

    @property
    def records(self) -> int:
        """How many offsets lie between the two."""
        return abs(self.next - self.wanted)

    def __str__(self) -> str:
        if self.reason == "retention":
            return (
                f"offsets {self.wanted} to {self.next - 1} were deleted before they were answered: {self.records} "
                "records are missed. Give the topic a longer retention, or add workers"
            )
        return (
            f"the log ends at offset {self.next}, but offset {self.wanted} was reached before: {self.records} offsets "
            "are gone. This worker goes on with the next record that is written. If the topic was made anew and what "
            "it has by now is to be answered too, stop the workers, set the group's offsets to the beginning and raise "
            "NEXTACT_STREAM_EPOCH"
        )


def gap_to(log: LogRange, wanted: int) -> OffsetGap | None:
    """Returns the gap between a wanted offset and the log; None: the log has that offset, or it comes next."""
    if wanted < log.start:
        return OffsetGap("retention", wanted, log.start)
    if wanted > log.end:
        return OffsetGap("truncated", wanted, log.end)
    return None
