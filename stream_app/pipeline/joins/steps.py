"""What identities and joins do to users' states, between the events of a batch.

An identity says that an anonymous user is a known one. Where the anonymous user is the key of its record, their
sequence is given away right here: it has what came before in their log, and nothing of what comes after. Where the
known user is the key, the owner of the anonymous one is asked, and gives what there is when the question comes. So
several people on a device each get what was done since the one before them was identified; an identity that comes
twice finds nothing the second time; one that comes late or early moves what there is by then, and the next one the
rest. A sequence joins the known user's by time, whether that user's later events came before or after.
The device thread's, as the users' states are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from model.data.events import Actions
from model.errors import RecordCorrupt
from model.items.attributes import completed_contexts
from model.items.catalogue import ItemCatalogue
from model.serving.state_engine import StateEngine, SteppedEvents
from model.state.join_notes import Source
from model.state.past_users import PastUsers
from model.state.taken_past import take_past
from model.state.user_joins import give_sequence, take_sequence, was_given
from model.state.user_states import UserStates
from stream_app.contract.decoded import DecodedBatch
from stream_app.contract.joins import (
    ImportedPast,
    JoinedSequence,
    JoinRecord,
    JoinRequest,
    decode_join,
    encode_join,
    past_of,
)
from stream_app.pipeline.joins.effects import JoinEffects, OutgoingJoin
from stream_app.pipeline.joins.fetched import JoinsFetch

Records = Sequence[Any]  # of Kafka
Outcomes = Mapping[str, Counter]  # what counts each of `JOIN_OUTCOMES`

logger: Final = logging.getLogger(__name__)


class PlacedActions(NamedTuple):
    """N actions of a batch of events."""

    actions: Actions
    partitions: list[int]
    offsets: NDArray[np.int64]


class PlacedIdentity(NamedTuple):
    """An identity of a batch."""

    partition: int
    offset: int
    user: str  # whose key the record has: one of the two
    user_id: str
    anonymous_id: str
    before: int  # how many actions of the batch come before it

    @property
    def is_own(self) -> bool:
        """Whether it came to the anonymous user's partition."""
        return self.user == self.anonymous_id


class ReadJoin(NamedTuple):
    """A record of the joins topic."""

    partition: int
    users: list[str]  # whose states it is about
    said: JoinRecord
    past: PastUsers | None = None  # that it has


class Piece(NamedTuple):
    """Actions of a batch, and the identities that come after them and before whatever else their users do."""

    start: int
    end: int
    identities: list[int]  # indices


def placed_identities(records: Records, decoded: DecodedBatch) -> list[PlacedIdentity]:
    """Returns the identities of a batch in their order."""
    positions = np.array(decoded.positions, np.int64)
    placed = []
    for identity in decoded.identities:
        record = records[identity.position]
        placed.append(
            PlacedIdentity(
                record.partition,
                record.offset,
                record.key.decode(),
                identity.user_id,
                identity.anonymous_id,
                int(positions.searchsorted(identity.position)),
            )
        )
    return placed


def pieces(actions: Sequence[int], identities: Sequence[PlacedIdentity], owners: Sequence[int]) -> Iterator[Piece]:
    """Cuts a batch where a user who was given away acts again: all before such a cut is applied before all behind it.

    `actions`: the slot of each action's user; `owners`: of each identity's user.
    """
    start, waiting, due = 0, list[int](), 0
    touched: set[int] = set()
    for index, slot in enumerate(actions):
        while due < len(identities) and identities[due].before <= index:
            waiting.append(due)
            touched.add(owners[due])
            due += 1
        if slot in touched:
            yield Piece(start, index, waiting)
            start, waiting, touched = index, [], set()
    yield Piece(start, len(actions), [*waiting, *range(due, len(identities))])


def step_identified(
    engine: StateEngine, events: PlacedActions, identities: Sequence[PlacedIdentity], outcomes: Outcomes
) -> tuple[NDArray[np.int64], list[SteppedEvents], JoinEffects]:
    """Steps a batch with identities; returns the positions of its actions (N,), its events, and what else changes."""
    count, actions = len(events.partitions), events.actions
    partitions = [*events.partitions, *(one.partition for one in identities)]
    slots = engine.slots_of(partitions, [*actions.users, *(one.user for one in identities)])
    offsets = np.concatenate((events.offsets, np.array([one.offset for one in identities], np.int64)))
    positions = engine.positions(partitions, offsets)
    owners = [int(slot) if one.is_own else -1 for one, slot in zip(identities, slots[count:], strict=True)]
    steps, stepped = JoinSteps(engine.states, outcomes), list[SteppedEvents]()
    for start, end, following in pieces(slots[:count].tolist(), identities, owners):
        part = actions.take(np.arange(start, end))
        for one in engine.step_all(slots[start:end], part, positions[start:end]):
            stepped.append(replace(one, events=replace(one.events, indices=one.events.indices + start)))
        for index in following:
            steps.identify(identities[index], owners[index], int(positions[count + index]))
    return positions[:count], stepped, steps.effects()


def read_joins(
    engine: StateEngine, fetches: Sequence[JoinsFetch], outcomes: Outcomes, catalogue: ItemCatalogue
) -> JoinEffects:
    """Does what records of the joins topic say, each partition's in order; one that cannot be read is passed over."""
    said = list(_decoded(fetches, outcomes, catalogue))
    owners = [(one.partition, user) for one in said for user in one.users]
    slots = engine.slots_of([partition for partition, _ in owners], [user for _, user in owners])
    steps, begin = JoinSteps(engine.states, outcomes), 0
    for one in said:
        end = begin + len(one.users)
        steps.read(one, slots[begin:end])
        begin = end
    return steps.effects({fetch.partition: fetch.next for fetch in fetches})


def _decoded(fetches: Sequence[JoinsFetch], outcomes: Outcomes, catalogue: ItemCatalogue) -> Iterator[ReadJoin]:
    for record in (record for fetch in fetches for record in fetch.value):
        try:
            user, said = decode_join(record.key, record.value)
            past = _past_of(said, catalogue) if isinstance(said, ImportedPast) else None
        except ValueError as error:
            logger.error("offset %d of partition %d of the joins: %s", record.offset, record.partition, error)
            outcomes["unreadable"].inc()
        else:
            yield ReadJoin(record.partition, [user] if past is None else past.users, said, past)


def _past_of(said: ImportedPast, catalogue: ItemCatalogue) -> PastUsers:
    """Returns the users of a record; what their actions do not say of the items, the catalogue says."""
    past = past_of(said)
    return replace(past, contexts=completed_contexts(past.item_keys, past.contexts, catalogue)) if catalogue else past


class JoinSteps:
    """The joins of one batch, applied to the users' states."""

    def __init__(self, states: UserStates, outcomes: Outcomes) -> None:
        """`outcomes`: what counts each of them."""
        self._states = states
        self._outcomes = outcomes
        self._changed: dict[int, tuple[int, bytes]] = {}  # by slot, partition and id of its user
        self._outgoing: list[OutgoingJoin] = []

    def identify(self, identity: PlacedIdentity, slot: int, position: int) -> None:
        """Gives the anonymous user's sequence away, or has its owner asked for it.

        `slot` is the anonymous user's if the identity is their own; `position` is the identity's in its log.
        """
        source, anonymous = Source(identity.partition, position), identity.anonymous_id.encode()
        if not identity.is_own:
            request = JoinRequest(identity.user_id, source, self._states.epoch)
            self._outgoing.append(OutgoingJoin(identity.partition, anonymous, encode_join(request)))
        elif position > self._states.offsets[slot]:
            if self._give(slot, identity.partition, anonymous, identity.user_id, source):
                self._states.offsets[slot] = position
        elif was_given(self._states, slot, source):  # a replay: whether it was sent nobody knows
            self._give(slot, identity.partition, anonymous, identity.user_id, source)

    def read(self, one: ReadJoin, slots: NDArray[np.int64]) -> None:
        """Does what a record of the joins topic says; the slots are those of its users."""
        said, user = one.said, one.users[0] if one.users else ""
        if isinstance(said, ImportedPast):
            self._take_past(one, said, slots)
        elif isinstance(said, JoinedSequence):
            self._take(one.partition, user, int(slots[0]), said)
        elif said.epoch == self._states.epoch:
            self._give(int(slots[0]), one.partition, user.encode(), said.user_id, Source(*said.source))

    def effects(self, read: Mapping[int, int] | None = None) -> JoinEffects:
        """Returns what became of it, once the whole batch is applied; `read` as in `JoinEffects`."""
        slots = np.array(list(self._changed), np.int64)
        states = self._states.snapshot(slots) if len(slots) else None
        return JoinEffects(list(self._changed.values()), states, self._outgoing, read or {})

    def _give(self, slot: int, partition: int, anonymous: bytes, user_id: str, source: Source) -> bool:
        """Gives a sequence away; returns whether there is one."""
        given = give_sequence(self._states, slot, source)
        if given is None:
            self._outcomes["empty"].inc()
            return False
        sequence, fresh = given
        if fresh:
            self._changed[slot] = partition, anonymous
        joined = JoinedSequence(source, anonymous.decode(), sequence)
        self._outgoing.append(OutgoingJoin(partition, user_id.encode(), encode_join(joined)))
        return True

    def _take(self, partition: int, user: str, slot: int, joined: JoinedSequence) -> None:
        try:
            taken = take_sequence(self._states, slot, Source(*joined.source), joined.sequence)
        except RecordCorrupt as error:
            logger.error("partition %d of the joins: %s", partition, error)
            self._outcomes["unreadable"].inc()
            return
        self._outcomes["applied" if taken else "repeated"].inc()
        if taken:
            self._changed[slot] = partition, user.encode()

    def _take_past(self, one: ReadJoin, said: ImportedPast, slots: NDArray[np.int64]) -> None:
        assert one.past is not None
        taken = np.flatnonzero(take_past(self._states, slots, one.past, said.source, said.end)).tolist()
        for index in taken:
            self._changed[int(slots[index])] = one.partition, one.users[index].encode()
        self._outcomes["past"].inc(len(taken))
        self._outcomes["repeated"].inc(len(slots) - len(taken))
