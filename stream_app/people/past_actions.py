"""What a user did, as their state's record remembers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import FIRST_GAP, unpack_contexts
from model.data.events import EVENT_TYPES, NO_TIME, SEARCH
from model.errors import RecordCorrupt
from model.state.user_record import record_position, unpack
from stream_app.contract.questions.answers import PastAction

NamesOf = Callable[[NDArray[np.uint64]], Sequence[str]]  # gives items' ids by their keys, "" where nobody knows one


class RememberedPast(NamedTuple):
    """All that a record says of what its user did."""

    actions: int  # so many there were in all
    last_time: int | None  # ms since the epoch, of the last one; None: at no known time
    history: list[PastAction]  # that are remembered, newest first


def remembered_past(record: bytes, names_of: NamesOf) -> RememberedPast:
    """Reads what a record says of what its user did. Raises `RecordCorrupt` for bytes that are none."""
    epoch, _ = record_position(record)
    stored = unpack([record], epoch=epoch, hidden=0, ids=0)
    if stored.faults:
        raise RecordCorrupt(stored.faults[0])
    row = stored.rows[0]
    last = int(row["last_time"])
    return RememberedPast(int(row["count"]), None if last == NO_TIME else last, list(_history(row, names_of)))


def _history(row: Any, names_of: NamesOf) -> Iterator[PastAction]:
    actions = row["actions"][: row["actions_size"]][::-1]
    fields = unpack_contexts(actions["context"])
    names = names_of(np.ascontiguousarray(actions["object"]))
    seconds: float | None = 0.0
    for kind, gap, name in zip(fields.types.tolist(), fields.gaps.tolist(), names, strict=True):
        item = None if kind == SEARCH else name or None
        yield PastAction(EVENT_TYPES[kind], item, seconds_before=None if seconds is None else round(seconds))
        seconds = None if seconds is None or gap == FIRST_GAP else seconds + _SECONDS[gap]


def _gap_seconds(bucket: int) -> float:
    """Returns the middle of a bucket of gaps, in seconds: see `contexts`."""
    low, high = (2 ** (0.8 * b) - 1 for b in (bucket, bucket + 1))
    return float(np.sqrt(max(low, 0.5) * high)) if bucket else 0.0


_SECONDS: Final = [_gap_seconds(bucket) for bucket in range(FIRST_GAP)]  # of each bucket of gaps
