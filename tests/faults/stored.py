"""A user's changelog record, read from its documented layout with `struct`: nothing is shared with the program."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from tests.faults.rhythm import Rhythm, read_rhythm

# version, checksum, sizes of hidden state, id window and sequence, epoch, offset, count, last time, session, weights
_HEADER: Final = struct.Struct("<BIHHHIqqqQQ")
_ACTION: Final = struct.Struct("<QI")
_SECTION: Final = struct.Struct("<HI")  # tag, length
_SEARCHES: Final = 1  # the tag of the section that has the searches' words
_TIMERS: Final = 5  # the tag of the section that has the user's visit
_SEARCH: Final = struct.Struct("<QB")  # object, words
_RHYTHM: Final = 4  # the tag of the section that has how the user comes and goes
_LIKED: Final = 3  # the tag of the section that has what the user likes
_LIKED_HEAD: Final = struct.Struct("<QBBB")  # actions, categories, brands, whether price bands follow
_LIKED_ENTRY: Final = struct.Struct("<Q3f")  # key, weights of what was looked at, wanted, bought

Entries = list[tuple[int, tuple[float, ...]]]  # keys and weights, the one touched last first


@dataclass(frozen=True, slots=True)
class Stored:
    """The fields of a record; `actions` are (type code, object), oldest first; `words` are those of searches."""

    version: int

    epoch: int
    offset: int
    count: int
    last_time: int
    weights: int
    hidden: tuple[float, ...]
    event_ids: tuple[int, ...]
    actions: tuple[tuple[int, int], ...]
    words: dict[int, tuple[int, ...]]  # of the searches, by object
    liked: tuple[Entries, Entries]  # categories and brands
    rhythm: Rhythm | None  # how they come and go
    liked_of: int  # how many actions had been counted for that
    timers: bytes = b""  # the section of the user's visit


def read(record: bytes) -> Stored:
    """Raises `ValueError` for a record that is damaged."""
    version, checksum, hidden, ids, length, epoch, offset, count, last_time, _session, weights = _HEADER.unpack_from(
        record
    )
    expected = _HEADER.size + 2 * hidden + 8 * ids + _ACTION.size * length
    end, sections = _sections(record, expected) if version == 2 else (expected, {})
    if version not in (1, 2) or checksum != zlib.crc32(record[5:]) or len(record) != end:
        raise ValueError(f"damaged: version {version}, {len(record)} bytes, expected {end}")
    states = struct.unpack_from(f"<{hidden}e", record, _HEADER.size)
    event_ids = struct.unpack_from(f"<{ids}Q", record, _HEADER.size + 2 * hidden)
    actions = _ACTION.iter_unpack(record[_HEADER.size + 2 * hidden + 8 * ids : expected])
    sequence = tuple((context & 7, item) for item, context in actions)
    words = _words(sections.get(_SEARCHES, b""))
    liked_of, liked = _liked(sections.get(_LIKED))
    return Stored(
        version=version,
        epoch=epoch,
        offset=offset,
        count=count,
        last_time=last_time,
        weights=weights,
        hidden=states,
        event_ids=event_ids,
        actions=sequence,
        words=words,
        liked=liked,
        rhythm=read_rhythm(sections.get(_RHYTHM)),
        liked_of=liked_of,
        timers=sections.get(_TIMERS, b""),
    )


def _sections(record: bytes, at: int) -> tuple[int, dict[int, bytes]]:
    """Where the last section ends, and their bytes by tag."""
    sections = {}
    while len(record) - at >= _SECTION.size:
        tag, length = _SECTION.unpack_from(record, at)
        at += _SECTION.size + length
        sections[tag] = record[at - length : at]
    return at, sections


def _words(section: bytes) -> dict[int, tuple[int, ...]]:
    words, at = {}, 0
    while at < len(section):
        item, count = _SEARCH.unpack_from(section, at)
        words[item] = struct.unpack_from(f"<{count}H", section, at + _SEARCH.size)
        at += _SEARCH.size + 2 * count
    return words


def _liked(section: bytes | None) -> tuple[int, tuple[Entries, Entries]]:
    """How many actions had been counted, and what of them."""
    if section is None:
        return 0, ([], [])
    actions, categories, brands, _ = _LIKED_HEAD.unpack_from(section)
    end = _LIKED_HEAD.size + _LIKED_ENTRY.size * (categories + brands)
    entries = [(key, weights) for key, *weights in _LIKED_ENTRY.iter_unpack(section[_LIKED_HEAD.size : end])]
    return actions, (
        [(key, tuple(weights)) for key, weights in entries[:categories]],
        [(key, tuple(weights)) for key, weights in entries[categories:]],
    )
