"""Profiles of users as records of their own: written when they have changed enough to matter.

That is: another category, brand or price band comes first, the user is in another segment, the largest share moved to
another fifth, or a score to another tenth. What was written last is known for users in memory; of one who comes back a
profile is written once more.
Shapes: N events, S slots.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import Floats
from model.serving.answers import Answers
from model.serving.state_engine import SteppedEvents
from model.state.history_rings import grown
from model.state.user_record import records_of
from stream_app.contract.profiles.user_profile import profile_json
from stream_app.contract.records import OutgoingRecord
from stream_app.contract.string_columns import Strings
from stream_app.contract.topics import LARGEST_BATCH
from stream_app.kafka.encoded_batch import encode_records
from stream_app.pipeline.batch_result import BatchResult
from stream_app.pipeline.batches import ReceivedBatch, newest_events
from stream_app.settings import Settings

_SCORE_STEPS: Final = 10  # of a probability
_SHARE_STEPS: Final = 5  # of the largest share
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no two numbers become the same one


class ProfileWriter:
    """Adds to batches the profiles that have changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._written: NDArray[np.uint64] = np.zeros(0, np.uint64)  # (S,) what matters of the last one; 0: none yet

    def add(
        self,
        received: ReceivedBatch,
        stepped: SteppedEvents,
        answers: Answers,
        fields: Sequence[Strings],
        results: dict[int, BatchResult],
    ) -> None:
        """Adds what is to be written after the events of a version (N,), whose `fields` are columns (N,) of JSON.

        Batches must come in the order in which they were stepped.
        """
        rows = self._changed(stepped, answers) if fields else np.zeros(0, np.int64)
        if not len(rows):
            return
        columns = [records_of(*column) for column in fields]
        made: defaultdict[int, list[OutgoingRecord]] = defaultdict(list)
        for row in rows.tolist():
            index = int(stepped.events.indices[row])
            time, said = int(received.publisher_times[index]), b"".join(column[row] for column in columns)
            value = profile_json(received.actions.users[index], time, answers.version, said)
            made[int(received.partitions[index])].append(OutgoingRecord(received.sources[index].key, value))
        for partition, records in made.items():
            batches = encode_records(records, largest=LARGEST_BATCH, compression=self._settings.compression)
            results[partition].profiles.extend(batches)

    def _changed(self, stepped: SteppedEvents, answers: Answers) -> NDArray[np.int64]:
        """Returns the last event of each user whose profile differs in what matters from the one that was written."""
        slots, freed = stepped.events.slots, stepped.freed_slots
        if len(self._written) < stepped.capacity:
            self._written = grown(self._written, stepped.capacity)
        self._written[freed[freed < len(self._written)]] = 0
        last = newest_events(slots)
        marks = marks_of(answers)[last]
        changed = marks != self._written[slots[last]]
        self._written[slots[last]] = marks
        return np.asarray(last[changed])


def marks_of(answers: Answers) -> NDArray[np.uint64]:
    """Returns a number for what matters of N profiles, never 0: profiles that differ in it have different ones."""
    marks = np.ones(len(answers.purchase), np.uint64)
    for part in _parts(answers):
        marks = (marks ^ part.astype(np.uint64)) * _MIX
        marks ^= marks >> np.uint64(32)
    return marks | np.uint64(1)


def _parts(answers: Answers) -> list[NDArray[np.uint64] | NDArray[np.int64]]:
    parts: list[NDArray[np.uint64] | NDArray[np.int64]] = []
    if answers.segments is not None:
        parts.append(answers.segments.ids[answers.segments.numbers])
    if answers.scores is not None:
        parts += [
            _steps(one, _SCORE_STEPS) for one in (answers.scores.leave, answers.scores.returns) if one is not None
        ]
    if answers.liked is not None:
        shares = answers.liked.shares
        parts += [shares.limits + 1, *shares.keys[:, :, 0].T]
        parts += [_steps(one, _SHARE_STEPS) for one in shares.shares[:, :, 0].T]
    return parts


def _steps(numbers: Floats, steps: int) -> NDArray[np.int64]:
    return (numbers * np.float32(steps)).astype(np.int64)
