"""Follows answered batches and says what is to be told of their users: signals, changed records, and new timers.

Whoever encodes owns it. All that it knows of a user is in the user's record, which it writes with the events that
changed it; so what was told and what is still to be told are durable together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.event_time import EARLIEST_MS
from model.data.events import Actions
from model.state.record_sections import rows_of, sections_of, with_section
from model.state.sections import TIMERS, split_sections
from model.state.user_record import UserRecords
from model.state.user_states import UserStates
from model.state.visits import (
    ActedEvent,
    Visit,
    VisitAction,
    VisitEnd,
    VisitRules,
    act,
    arrival,
    end,
    has_ended_before,
    read_visit,
    written_visit,
)
from stream_app.contract.signals.signal import (
    MeasuredBy,
    Signal,
    SignalItem,
    SignalKind,
    SignalVisit,
    encode_signal,
    signal_id,
    signal_namespace,
)
from stream_app.contract.string_columns import strings
from stream_app.kafka.encoded_batch import RecordBatch
from stream_app.kafka.record_batch import KeyedValues, partitioned_batches
from stream_app.settings import Settings
from stream_app.signals.due import DueUsers
from stream_app.signals.late_sections import LateSections, Owner


@dataclass(frozen=True, slots=True)
class AnsweredEvents:
    """E new events of a batch of N actions, and the states of their users (U)."""

    actions: Actions  # (N,)
    partitions: NDArray[np.int64]  # (N,)
    record_times: NDArray[np.int64]  # (N,) ms since the epoch
    indices: NDArray[np.int64]  # (E,) of their last actions
    times: NDArray[np.int64]  # (E,) ms, the users' clocks after them
    applied: NDArray[np.bool_]  # (E,) the others repeat an event id
    users: NDArray[np.int64]  # (E,) which of the U users
    purchase: NDArray[np.float32]  # (E,) probabilities of a purchase
    states: UserRecords  # U


@dataclass(frozen=True, slots=True)
class DueStates:
    """Users who are due, and their states, as stepping found them."""

    owners: list[Owner]
    found: list[DueUsers]  # with whom each of the owners was found
    states: UserRecords


class NewTimer(NamedTuple):
    """When a user is to be looked at."""

    partition: int
    due: int  # ms since the epoch
    user: bytes


class SignalBatch(NamedTuple):
    """What there is to write of a batch, beside the users' records."""

    signals: list[tuple[int, RecordBatch]]  # each with its partition
    kinds: list[SignalKind]  # of all signals
    timers: list[NewTimer]


class SignalWriter:
    """Tells what there is to tell."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self._settings, self._clock = settings, clock
        self._rules = VisitRules(round(settings.visit_minutes * 60_000), settings.expected_purchase)
        self._namespace = signal_namespace(settings.stream_epoch, settings.events_topic)
        self._sections = LateSections(TIMERS)
        self._begin()

    def _begin(self) -> None:
        self._told: list[tuple[Owner, Signal]] = []
        self._timers: list[NewTimer] = []

    def take_in(self, states: UserStates, generation: int) -> int:
        """See `LateSections`: for the thread that steps, before a batch."""
        return self._sections.take_in(states, generation)

    def forget(self, taken: int) -> None:
        """See `LateSections`: before anything else of a batch, as all that follows."""
        self._sections.forget(taken)

    def follow(self, events: AnsweredEvents) -> UserRecords:
        """Takes new events in; returns the records of their users with what they changed."""
        owners = _owners(events)
        contents = self._contents(owners, events.states)
        visits: dict[int, Visit] = {}
        before: dict[int, int] = {}
        for user, event in _acted(events, self._now()):
            visit = visits.get(user)
            if visit is None:
                visit = visits[user] = read_visit(contents[user])
                before[user] = visit.due
            if has_ended_before(visit, event, self._rules):
                self._tell(owners[user], end(visit, self._rules), "stream")
            act(visit, event, self._rules)
        for user, visit in visits.items():
            contents[user] = self._changed(owners[user], visit, before[user])
        return with_section(events.states, TIMERS, contents)

    def look(self, due: DueStates) -> tuple[list[Owner], UserRecords | None]:
        """Looks at users whose time has come; returns those of whom something is told, and their records (None: of
        nobody)."""
        changed: dict[int, bytes] = {}
        contents = self._contents(due.owners, due.states)
        for row, (owner, found) in enumerate(zip(due.owners, due.found, strict=True)):
            visit = read_visit(contents[row])
            if visit.is_open and visit.ends <= found.now:
                before = visit.due
                self._tell(owner, end(visit, self._rules), found.measured_by)
                changed[row] = self._changed(owner, visit, before)
            elif visit.due:
                self._timers.append(NewTimer(owner[0], visit.due, owner[1].encode()))
        rows = list(changed)
        if not rows:
            return [], None
        return [due.owners[row] for row in rows], with_section(
            rows_of(due.states, rows), TIMERS, list(changed.values())
        )

    def renewed(self, owners: Sequence[Owner], states: UserRecords) -> UserRecords:
        """Returns the records of users whom something else has changed, with what is new of them here."""
        newest = [self._sections.newest(owner) for owner in owners]
        return with_section(states, TIMERS, newest) if any(newest) else states

    def finish(self) -> SignalBatch:
        """Returns what else there is to write of the batch."""
        told, timers = self._told, self._timers
        self._begin()
        kinds = [signal.kind for _, signal in told]
        return SignalBatch(_batches(told, self._settings) if told else [], kinds, timers)

    def _now(self) -> int:
        return round(self._clock() * 1000)

    def _contents(self, owners: Sequence[Owner], states: UserRecords) -> list[bytes | None]:
        """Returns each user's newest section; None: they have none."""
        newest = [self._sections.newest(owner) for owner in owners]
        stored = sections_of(states)
        return [
            split_sections(old).get(TIMERS) if new is None else new for new, old in zip(newest, stored, strict=True)
        ]

    def _changed(self, owner: Owner, visit: Visit, before: int) -> bytes:
        """Notes what became of a user who was due at a time before; returns their section."""
        if visit.due and (not before or visit.due < before):
            self._timers.append(NewTimer(owner[0], visit.due, owner[1].encode()))
        content = written_visit(visit)
        self._sections.put(owner, content)
        return content

    def _tell(self, owner: Owner, ended: VisitEnd, measured_by: MeasuredBy) -> None:
        """Tells all that there is to tell of a visit that has ended."""

        def signal(kind: SignalKind) -> Signal:
            return Signal(
                signal_id=signal_id(self._namespace, *owner, f"{kind}/{ended.number}"),
                kind=kind,
                user_id=owner[1],
                timestamp=ended.ended,
                measured_by=measured_by,
                visit=SignalVisit(ended.number, ended.begun, ended.last, ended.actions),
                items=items if kind == "cart_abandoned" else None,
                purchase_probability=ended.expected if kind == "purchase_expected" else None,
            )

        items = [SignalItem(item) for item in ended.left_in_cart]
        kinds: list[SignalKind] = ["visit_ended"]
        kinds += ["cart_abandoned"] if items else []
        kinds += ["purchase_expected"] if ended.expected else []
        self._told += [(owner, signal(kind)) for kind in kinds]


def _acted(events: AnsweredEvents, now: int) -> Iterator[tuple[int, ActedEvent]]:
    """Yields the events that count, each with which user's it is."""
    actions = events.actions
    types, lines, items = actions.types.tolist(), actions.lines.tolist(), actions.items
    columns = (events.users, events.indices, events.times, events.purchase, events.applied)
    for user, last, time, purchase, applied in zip(*(column.tolist() for column in columns), strict=True):
        if applied:
            acted = [VisitAction(types[index], items[index]) for index in range(last - lines[last], last + 1)]
            arrived = arrival(int(events.record_times[last]), now)
            yield user, ActedEvent(arrived, time if time >= EARLIEST_MS else arrived, acted, purchase)


def _owners(events: AnsweredEvents) -> list[Owner]:
    """Returns partition and id of each user."""
    owners: list[Owner] = [(0, "")] * len(events.states.sizes)
    names, partitions = events.actions.users, events.partitions[events.indices].tolist()
    for user, index, partition in zip(events.users.tolist(), events.indices.tolist(), partitions, strict=True):
        owners[user] = partition, names[index]
    return owners


def _batches(told: Sequence[tuple[Owner, Signal]], settings: Settings) -> list[tuple[int, RecordBatch]]:
    """Makes the records of signals, each on the partition of its user."""
    every = np.arange(len(told))
    keys = strings([user.encode() for (_, user), _ in told])
    partitions = np.array([partition for (partition, _), _ in told], np.int64)
    records = KeyedValues(keys, partitions, every, strings([encode_signal(signal) for _, signal in told]), every)
    return partitioned_batches(records, compression=settings.compression).batches
