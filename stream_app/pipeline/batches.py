"""A batch on its way through a pipeline, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from aiokafka import ConsumerRecord
from numpy.typing import NDArray

from model.data.events import Actions
from model.serving.answers import Answers
from model.serving.online_scores import BatchScores
from model.serving.state_engine import SteppedEvents
from model.state.user_record import UserRecords
from stream_app.contract.decoded import DecodedBatch
from stream_app.contract.string_columns import Strings
from stream_app.pipeline.joins.effects import JoinEffects
from stream_app.pipeline.joins.fetched import JoinsFetch
from stream_app.signals.due import DueUsers
from stream_app.signals.writer import DueStates

Records = Sequence["ConsumerRecord[bytes, bytes]"]


def newest_events(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns which of N events, whose users are in these slots, are the last ones of their users, by slot."""
    return len(slots) - 1 - np.unique(slots[::-1], return_index=True)[1]


@dataclass(frozen=True, slots=True)
class ReceivedBatch:
    """A decoded batch of R records, whose events have N actions."""

    records: Records  # R of them
    decoded: DecodedBatch
    sources: Records  # (N,) the records of the actions
    keys: Strings  # (N,) of these records
    record_times: NDArray[np.int64]  # (N,) of these records, milliseconds since the epoch
    publisher_times: NDArray[np.int64]  # (N,) of the actions, milliseconds since the epoch
    actions: Actions  # (N,)
    partitions: NDArray[np.int64]  # (N,)
    offsets: NDArray[np.int64]  # (N,)
    positions: NDArray[np.int64]  # (N,) in the logs of their partitions; the offsets, before `step` looks for cuts
    verdicts: NDArray[np.uint8]  # (N,) on the publisher's times, but for LATE
    generation: int  # of the consumer group
    joins: Sequence[JoinsFetch] = ()  # what was read of the joins topic: then there are no records
    due: Sequence[DueUsers] = ()  # users whose time has come: then there are no records either


@dataclass(frozen=True, slots=True)
class VersionShare:
    """The new events that one version answers: those of the whole batch, but for a canary."""

    stepped: SteppedEvents
    states: UserRecords  # of the users whom they changed
    verdicts: NDArray[np.uint8]  # (M,) on the publisher's times


@dataclass(frozen=True, slots=True)
class SteppedBatch:
    """A batch that the users' states have taken in: nothing here changes with the next batch."""

    received: ReceivedBatch
    shares: Sequence[VersionShare]
    number: int  # of the batch
    item_names: Sequence[Sequence[str]]  # of the versions that serve, by catalogue index
    state_bytes: int  # of all user states in memory
    joins: JoinEffects | None = None
    due: DueStates | None = None
    late_sections: int = 0  # up to which number the states had them: see `LateSections`


@dataclass(frozen=True, slots=True)
class AnsweredBatch:
    """A batch with its answers: all that encoding needs."""

    stepped: SteppedBatch
    answers: Sequence[Answers]  # to each share
    scores: Sequence[BatchScores]  # what each share says about the answers before it


@dataclass(frozen=True, slots=True)
class AskedUsers:
    """What is said of N users as they are."""

    predictions: list[bytes]  # JSON, as it would be published
    hidden: NDArray[np.float16]  # (N, H), the users' states
