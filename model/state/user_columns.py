"""Columns of users' states that only some workers keep, each with a section of the record of its own.

What a column says of a user begins empty, moves with their actions, leaves memory with them and comes back from their
record. A worker that does not keep a column keeps its section as it was; what comes back may so be older than the rest
of the record, or missing: a column says itself what it makes of that.
Shapes: S slots, U users of a batch, T bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.kernels.compiled import compiled
from model.state.history_rings import Histories
from model.state.sections import HIGHEST_TAG, joined_sections

Sections = tuple[NDArray[np.uint8], NDArray[np.int64]]  # one user's behind the other; where each begins, the last ends


class UserColumns(Protocol):
    """What a worker keeps of all users beside their sequences."""

    @property
    def tag(self) -> int:
        """The tag of its section."""

    @property
    def nbytes(self) -> int:
        """The bytes that it takes."""

    def grow(self, slots: int) -> None:
        """Makes room for so many slots in all."""

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Forgets the users in slots (U,)."""

    def sections(self, slots: NDArray[np.int64], histories: Histories) -> Sections:
        """Returns the sections of users in slots (U,) with their heads; nothing for users of whom it has nothing."""

    def restore(self, slots: NDArray[np.int64], contents: Sequence[bytes], histories: Histories) -> None:
        """Puts what stood in the sections of users into slots (U,), which are empty; b"": there was none.

        `histories` have the users' actions already.
        """

    def take_in(self, slot: int, content: bytes, contexts: NDArray[np.uint32]) -> None:
        """Takes in what was known of the user in a slot under another id, or from before: what stood in the section,
        or b"", and the contexts of the actions (oldest first)."""


def no_sections(users: int) -> Sections:
    """Returns the sections of so many users who have none."""
    return np.zeros(0, np.uint8), np.zeros(users + 1, np.int64)


def in_order_of_tags(columns: Sequence[tuple[int, Sections]], others: Sequence[Mapping[int, bytes]]) -> Sections:
    """Returns the sections of users (U,): those of columns by rising tag, and others of each user (U,; empty: nobody
    has any), by tag, in between."""
    parts, before = list[Sections](), 0
    for tag, sections in columns:
        parts += [_between(others, before, tag)] if others else []
        parts.append(sections)
        before = tag
    return _side_by_side([*parts, _between(others, before, HIGHEST_TAG + 1)] if others else parts)


def _between(others: Sequence[Mapping[int, bytes]], above: int, below: int) -> Sections:
    """Returns the sections of users with tags between two others."""
    data = [joined_sections({tag: each[tag] for tag in each if above < tag < below}) for each in others]
    starts = np.cumsum([0, *map(len, data)])
    writable = bytearray().join(data)  # loops would be compiled anew for arrays that are read-only
    return np.frombuffer(writable, np.uint8), starts


def _side_by_side(parts: Sequence[Sections]) -> Sections:
    """Returns the sections of users (U,), each user's of one part behind those of the part before."""
    joined, *others = parts
    for other in others:
        if len(other[0]):
            joined = _join(*joined, *other) if len(joined[0]) else other
    return joined


@compiled
def _join(
    text: NDArray[np.uint8], starts: NDArray[np.int64], other: NDArray[np.uint8], other_starts: NDArray[np.int64]
) -> Sections:
    out, ends = np.empty(len(text) + len(other), np.uint8), np.zeros(len(starts), np.int64)
    at = np.uint64(0)
    for user in range(len(starts) - 1):
        for byte in range(starts[user], starts[user + 1]):
            out[at] = text[byte]
            at += np.uint64(1)
        for byte in range(other_starts[user], other_starts[user + 1]):
            out[at] = other[byte]
            at += np.uint64(1)
        ends[user + 1] = at
    return out, ends
