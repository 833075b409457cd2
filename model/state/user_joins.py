"""Gives an anonymous user's sequence away, and takes it into the one of who they turn out to be, each exactly once.

An identity has a *source*: the partition and the position of the event that told of it. Whoever gives a sequence away
is empty from then on, and remembers source and sequence, so that the same source always gives the same bytes, however
often it comes. They are remembered durably before anybody else hears of the sequence: so no action can be in both
places, or in none. Whoever takes a sequence in remembers its source, and takes it no second time.
Event ids and the last position stay with the anonymous user, so that a publisher's retry is still known; the number of
their actions begins again. What was taken in does not count among the known user's own actions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from model.errors import RecordCorrupt
from model.state.join_notes import Source, notes_of, set_notes
from model.state.merged_sequences import UserSequence, merged
from model.state.searches import stored_queries
from model.state.sections import JOINS, SEARCHES, split_sections
from model.state.user_record import pack, unpack
from model.state.user_states import UserStates

REMEMBERED: Final = 16  # sources of sequences given away, each with its bytes
TAKEN_IN: Final = 64  # sources of sequences taken in


def give_sequence(states: UserStates, slot: int, source: Source) -> tuple[bytes, bool] | None:
    """Returns the sequence of the user in a slot, and whether they have it no more only from now on.

    None: there is nothing to give. The bytes are a user's record with nothing but the sequence.
    """
    notes = notes_of(states, slot)
    for known, record in notes.given:
        if known == source:
            return record, False
    if not states.histories.sizes(np.array([slot]))[0]:
        return None
    record = _sequence_record(states, slot)
    states.empty(slot)
    given = [*notes.given, (source, record)][-REMEMBERED:]
    set_notes(states, slot, msgspec.structs.replace(notes, given=given))
    return record, True


def was_given(states: UserStates, slot: int, source: Source) -> bool:
    """Returns whether the user in a slot remembers to have given a sequence away for this source."""
    return source in [known for known, _ in notes_of(states, slot).given]


def take_sequence(states: UserStates, slot: int, source: Source, record: bytes) -> bool:
    """Merges a sequence that was given away into that of the user in a slot; returns False where they have it already.

    Their hidden state is to be encoded again. A sequence of another stream epoch is left out. Raises `RecordCorrupt`.
    """
    notes = notes_of(states, slot)
    if source in notes.taken_in:
        return False
    stored = _sequence_of(states, record)
    if stored is None:
        return False
    anonymous, sections = stored
    item_keys, contexts, sizes = states.histories.gather(np.array([slot]))
    size = int(sizes[0])
    known = UserSequence(
        item_keys[0, :size], contexts[0, :size], int(states.last_times[slot]), int(states.sessions[slot])
    )
    _put(states, slot, merged(anonymous, known, states.histories.length))
    for column in states.columns:
        column.take_in(slot, sections.get(column.tag, b""), anonymous.contexts)
    taken_in = [*notes.taken_in, source][-TAKEN_IN:]
    set_notes(states, slot, msgspec.structs.replace(notes, taken_in=taken_in))
    return True


def _sequence_record(states: UserStates, slot: int) -> bytes:
    """Packs the sequence of the user in a slot, without what a join leaves with them."""
    notes = states.section(slot, JOINS)
    states.set_section(slot, JOINS, None)
    user = states.snapshot(np.array([slot]))
    states.set_section(slot, JOINS, notes)
    hidden, event_ids = np.zeros((1, 0), np.float16), np.zeros((1, 0), np.uint64)
    return pack(replace(user, weights_id=np.zeros(1, np.uint64), hidden=hidden, event_ids=event_ids))[0]


def _sequence_of(states: UserStates, record: bytes) -> tuple[UserSequence, dict[int, bytes]] | None:
    """Reads a sequence that was given away with its sections, and the words of its searches; None: it is of another
    stream epoch.

    Raises `RecordCorrupt`.
    """
    stored = unpack([record], epoch=states.epoch, hidden=0, ids=0)
    for fault in stored.faults.values():
        raise RecordCorrupt(f"the sequence of an anonymous user cannot be read: {fault}")
    if not len(stored.rows):
        return None
    sections = split_sections(stored.sections[0])
    states.add_searches(stored_queries(stored, [sections.get(SEARCHES, b"")]))
    row = stored.rows[0]
    actions = row["actions"][: row["actions_size"]]
    last_time, session = int(row["last_time"]), int(row["session"])
    return UserSequence(actions["object"].copy(), actions["context"].copy(), last_time, session), sections


def _put(states: UserStates, slot: int, sequence: UserSequence) -> None:
    """Gives the user in a slot another sequence; their hidden state is that of no version."""
    slots, sizes = np.array([slot]), np.array([len(sequence.item_keys)])
    counts = states.histories.counts[slots]
    states.histories.restore(slots, sequence.item_keys[None], sequence.contexts[None], sizes, counts)
    states.last_times[slot], states.sessions[slot] = sequence.last_time, sequence.session
    states.weights_id[slot] = 0
