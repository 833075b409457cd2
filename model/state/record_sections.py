"""Changes one section of users' records that are not packed yet, and picks some of the users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from model.state.sections import replaced_section
from model.state.user_record import UserRecords


def sections_of(records: UserRecords) -> list[bytes]:
    """Returns the sections of each user, as they stand in a record."""
    assert records.sections is not None
    text = records.sections[0].tobytes()
    return [text[start:stop] for start, stop in pairwise(records.sections[1].tolist())]


def with_section(records: UserRecords, tag: int, contents: Sequence[bytes | None]) -> UserRecords:
    """Returns records in which each user has a content in the section of a tag; None: the one that is there stays."""
    changed = [
        old if content is None else replaced_section(old, tag, content)
        for old, content in zip(sections_of(records), contents, strict=True)
    ]
    starts = np.cumsum([0, *map(len, changed)])
    writable = bytearray().join(changed)  # loops would be compiled anew for arrays that are read-only
    return replace(records, sections=(np.frombuffer(writable, np.uint8), starts))


def rows_of(records: UserRecords, rows: Sequence[int]) -> UserRecords:
    """Returns the records of some users, in this order."""
    names = [name for name in UserRecords.__slots__ if isinstance(getattr(records, name), np.ndarray)]
    sections = sections_of(records)
    chosen = [sections[row] for row in rows]
    text = np.frombuffer(bytearray().join(chosen), np.uint8), np.cumsum([0, *map(len, chosen)])
    return replace(records, sections=text, **{name: getattr(records, name)[list(rows)] for name in names})
