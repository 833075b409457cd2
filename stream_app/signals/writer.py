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
from model.profile.audiences import Audiences, membership
from model.state.record_sections import rows_of, sections_of, with_section
from model.state.sections import TIMERS, section_at
from model.state.user_record import UserRecords
from model.state.user_states import UserStates
from model.state.visits import (
    ActedEvent,
    Visit,
    VisitAction,
    VisitRules,
    act,
    arrival,
    end,
    has_ended_before,
    read_visit,
    written_visit,
)
from stream_app.contract.signals.signal import MeasuredBy, SignalKind
from stream_app.contract.string_columns import Strings
from stream_app.kafka.encoded_batch import RecordBatch
from stream_app.settings import Settings
from stream_app.signals.due import DueUsers
from stream_app.signals.late_sections import LateSections, Owner
from stream_app.signals.said import fitting_audiences
from stream_app.signals.told import ToldSignals


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
    predictions: Strings  # of the batch, the E of these events from `first` on
    first: int


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
        self.audiences: Audiences = {}  # another object when they change
        self._clock = clock
        self._rules = VisitRules(round(settings.visit_minutes * 60_000), settings.expected_purchase)
        self._sections = LateSections(TIMERS)
        self._told = ToldSignals(settings)
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
        asked = any(audience.asks_predictions for audience in self.audiences.values())
        for number, user, event in _acted(events, self._now()):
            visit = visits.get(user)
            if visit is None:
                visit = visits[user] = read_visit(contents[user])
                before[user] = visit.due
            self._pass_time(owners[user], visit, event.arrived, "stream")
            if has_ended_before(visit, event, self._rules):
                self._told.end(owners[user], end(visit, self._rules), "stream")
            act(visit, event, self._rules)
            visit.fits = fitting_audiences(self.audiences, events.predictions, number) if asked else []
            self._judge(owners[user], visit, event.arrived, "stream")
        for user, visit in visits.items():
            contents[user] = self._put(owners[user], visit)
            if visit.due and (not before[user] or visit.due < before[user]):
                self._set_timer(owners[user], visit)
        return with_section(events.states, TIMERS, contents)

    def look(self, due: DueStates) -> tuple[list[Owner], UserRecords | None]:
        """Looks at users whose time has come; returns those who have changed, and their records (None: nobody has)."""
        changed: dict[int, bytes] = {}
        contents = self._contents(due.owners, due.states)
        for row, (owner, found, content) in enumerate(zip(due.owners, due.found, contents, strict=True)):
            visit = read_visit(content)
            self._pass_time(owner, visit, found.now, found.measured_by)
            if visit.number:
                self._judge(owner, visit, found.now, found.measured_by)
            if content is not None and written_visit(visit) != content:
                changed[row] = self._put(owner, visit)
            if visit.due:
                self._set_timer(owner, visit)
        if not changed:
            return [], None
        rows = list(changed)
        states = with_section(rows_of(due.states, rows), TIMERS, list(changed.values()))
        return [due.owners[row] for row in rows], states

    def renewed(self, owners: Sequence[Owner], states: UserRecords) -> UserRecords:
        """Returns the records of users whom something else has changed, with what is new of them here."""
        newest = [self._sections.newest(owner) for owner in owners]
        return with_section(states, TIMERS, newest) if any(newest) else states

    def finish(self) -> SignalBatch:
        """Returns what else there is to write of the batch."""
        timers, self._timers = self._timers, []
        return SignalBatch(*self._told.take(), timers)

    def _now(self) -> int:
        return round(self._clock() * 1000)

    def _contents(self, owners: Sequence[Owner], states: UserRecords) -> list[bytes | None]:
        """Returns each user's newest section; None: they have none."""
        newest, stored = self._sections.newest, sections_of(states)
        return [
            newest(owner) or section_at(sections, 0, TIMERS) for owner, sections in zip(owners, stored, strict=True)
        ]

    def _pass_time(self, owner: Owner, visit: Visit, now: int, measured_by: MeasuredBy) -> None:
        """Tells all that silence says up to a time, each thing as of when it became so."""
        while visit.due and (at := visit.due) <= now:
            if visit.is_open and visit.ends <= at:
                self._told.end(owner, end(visit, self._rules), measured_by)
            self._judge(owner, visit, at, measured_by)

    def _judge(self, owner: Owner, visit: Visit, at: int, measured_by: MeasuredBy) -> None:
        """Finds the audiences that a user belongs to at a time, and when to look at the user next."""
        audiences = self.audiences
        if not audiences and not visit.audiences:
            visit.due = visit.ends
            return
        names, until = membership(audiences, visit, at)
        if names != visit.audiences:
            visit.audiences = [name for name in visit.audiences if name in audiences]  # of others nothing is told
            self._told.move(owner, visit, names, at, measured_by)
        visit.due = min([time for time in (visit.ends, until) if time], default=0)

    def _put(self, owner: Owner, visit: Visit) -> bytes:
        """Notes a user's section, and returns it."""
        content = written_visit(visit)
        self._sections.put(owner, content)
        return content

    def _set_timer(self, owner: Owner, visit: Visit) -> None:
        self._timers.append(NewTimer(owner[0], visit.due, owner[1].encode()))


def _acted(events: AnsweredEvents, now: int) -> Iterator[tuple[int, int, ActedEvent]]:
    """Yields the events that count, each with the number of its prediction, and with which user's it is."""
    actions, came = events.actions, events.record_times.tolist()
    types, lines, items = actions.types.tolist(), actions.lines.tolist(), actions.items
    columns = (events.users, events.indices, events.times, events.purchase, events.applied)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for number, (user, last, time, purchase, applied) in enumerate(rows, events.first):
        if applied:
            acted = [VisitAction(types[index], items[index]) for index in range(last - lines[last], last + 1)]
            arrived = arrival(came[last], now)
            yield number, user, ActedEvent(arrived, time if time >= EARLIEST_MS else arrived, acted, purchase)


def _owners(events: AnsweredEvents) -> list[Owner]:
    """Returns partition and id of each user."""
    owners: list[Owner] = [(0, "")] * len(events.states.sizes)
    names, partitions = events.actions.users, events.partitions[events.indices].tolist()
    for user, index, partition in zip(events.users.tolist(), events.indices.tolist(), partitions, strict=True):
        owners[user] = partition, names[index]
    return owners
