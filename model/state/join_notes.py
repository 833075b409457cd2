"""What a user's record remembers of joins and of a past that was imported: the section `joins`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from model.state.sections import JOINS
from model.state.user_states import UserStates


class Source(NamedTuple):
    """Where it was said that an anonymous user is a known one."""

    partition: int  # of the events
    position: int  # see `log_cuts`


class TakenPast(NamedTuple):
    """What was taken in of one imported file."""

    source: int  # says which file, 64 bits
    end: int  # the first event of the file that was not yet there, counted from 0
    actions: int  # that the user had before it


class JoinNotes(msgspec.Struct, array_like=True, frozen=True):
    """The section, the newest of each last."""

    taken_in: Sequence[Source] = ()
    given: Sequence[tuple[Source, bytes]] = ()  # with what was given
    past: Sequence[TakenPast] = ()


_DECODER: Final = msgspec.msgpack.Decoder(JoinNotes)
_ENCODER: Final = msgspec.msgpack.Encoder()
_NONE: Final = JoinNotes()


def notes_of(states: UserStates, slot: int) -> JoinNotes:
    """Returns what the record of the user in a slot remembers; what cannot be read is no note."""
    section = states.section(slot, JOINS)
    try:
        return _NONE if section is None else _DECODER.decode(section)
    except msgspec.DecodeError:
        return _NONE


def set_notes(states: UserStates, slot: int, notes: JoinNotes) -> None:
    """Has the record of the user in a slot remember it."""
    states.set_section(slot, JOINS, _ENCODER.encode(notes))
