"""Sections: what a user's record has behind the last action, each with a tag, so that versions can take turns.

A section is a tag (16 bits), a length (32 bits) and so many bytes, little-endian; a record has at most one of a tag, in
order of the tags. One that this version does not know stays with its user and is written back as it was: so a worker of
before can hold a partition for a while, and what only the newer ones know of its users is not lost.

A new section needs a tag below and nothing else here. What few users have, or what is read rarely, goes through
`UserStates.section` and `UserStates.set_section`. What is read with every batch is a column of `UserStates`, made into
bytes for a whole batch, as `searches` are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from model.errors import RecordCorrupt

# Tags are given out here, once and for ever: a number that was in use never gets another meaning. 0 is no tag.
SEARCHES: Final = 1  # the words of the searches among the actions; the lowest, as it is written first
JOINS: Final = 2  # which sequences were given away and taken in: `user_joins`
PREFERENCES: Final = 3  # what the user likes: `model/profile/preference_section`
SEGMENT: Final = 4  # how the user comes and goes, and the id of their segment: `model.profile.rhythm`
TIMERS: Final = 5  # the user's visit, and when something is to be told of it: `visits`
TAGS: Final = {"searches": SEARCHES, "joins": JOINS, "preferences": PREFERENCES, "segment": SEGMENT, "timers": TIMERS}

_HEAD: Final = struct.Struct("<HI")  # tag, length
HEAD_BYTES: Final = _HEAD.size
HIGHEST_TAG: Final = 0xFFFF


def split_sections(data: bytes) -> dict[int, bytes]:
    """Returns the sections by tag. Raises `RecordCorrupt` for bytes that are not sections."""
    return dict(_sections(data))


def joined_sections(sections: Mapping[int, bytes]) -> bytes:
    """Returns sections, by tag, as they stand in a record."""
    return b"".join([_HEAD.pack(tag, len(sections[tag])) + sections[tag] for tag in sorted(sections)])


def replaced_section(data: bytes, tag: int, content: bytes) -> bytes:
    """Returns sections, which are sound, with this content in the one of a tag, which there need not be."""
    begin = end = 0  # of what is replaced
    while begin < len(data):
        known, length = _HEAD.unpack_from(data, begin)
        if known >= tag:
            end = begin + (_HEAD.size + length if known == tag else 0)
            break
        begin = end = begin + _HEAD.size + length
    return data[:begin] + _HEAD.pack(tag, len(content)) + content + data[end:]


def section_at(record: bytes, at: int, wanted: int) -> bytes | None:
    """Returns the section of a tag among those of a sound record, which begin at `at`; None: there is none."""
    while at < len(record):
        tag, length = _HEAD.unpack_from(record, at)
        at += _HEAD.size + length
        if tag == wanted:
            return record[at - length : at]
    return None


def check_sections(record: bytes, at: int) -> None:
    """Raises `RecordCorrupt` unless the bytes of a record from `at` on are sections."""
    before, end = 0, len(record)
    while at < end:
        if end - at < _HEAD.size:
            raise RecordCorrupt(f"a user record of {end} bytes has {end - at} behind its last section")
        tag, length = _HEAD.unpack_from(record, at)
        at += _HEAD.size + length
        if at > end:
            raise RecordCorrupt(f"section {tag} of a user record of {end} bytes ends {at - end} bytes behind it")
        if tag <= before:
            raise RecordCorrupt(f"section {tag} of a user record comes after section {before}: tags must rise from 1")
        before = tag


def _sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    check_sections(data, 0)
    at = 0
    while at < len(data):
        tag, length = _HEAD.unpack_from(data, at)
        begin = at + _HEAD.size
        at = begin + length
        yield tag, data[begin:at]
