"""What a user did, as their state's record remembers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.contexts import FIRST_GAP, GAP_BUCKETS, GAP_SHIFT, types_of
from model.data.events import EVENT_TYPES, NO_TIME, SEARCH
from model.state.user_record import LastActions, last_actions
from stream_app.contract.questions.answers import PastAction

NamesOf = Callable[[NDArray[np.uint64]], Sequence[str]]  # gives items' ids by their keys, "" where nobody knows one


class RememberedPast(NamedTuple):
    """All that a record says of what its user did."""

    actions: int  # so many there were in all
    last_time: int | None  # ms since the epoch, of the last one; None: at no known time
    history: list[PastAction]  # that are remembered, newest first


def remembered_past(record: bytes, names_of: NamesOf, most: int | None = None) -> RememberedPast:
    """Reads what a record says of what its user did, of their actions the newest `most`; None: all.

    Raises `RecordCorrupt` if the bytes are not a record.
    """
    read = last_actions(record)
    actions = read.actions[::-1][:most]
    types, names = types_of(actions["context"]).tolist(), names_of(np.ascontiguousarray(actions["object"]))
    history = [
        PastAction(EVENT_TYPES[kind], (None if kind == SEARCH else name) or None, seconds_before=seconds)
        for kind, name, seconds in zip(types, names, _seconds_before(actions["context"]), strict=True)
    ]
    return RememberedPast(read.total, last_time_of(read), history)


def last_time_of(read: LastActions) -> int | None:
    """Returns when a user did something last, ms since the epoch; None: at no known time."""
    return None if read.last_time == NO_TIME else read.last_time


def _seconds_before(contexts: NDArray[np.uint32]) -> list[int | None]:
    """Returns how long before the newest action each was, by the contexts of actions (n,), newest first."""
    gaps = contexts >> np.uint32(GAP_SHIFT) & np.uint32(GAP_BUCKETS - 1)
    seconds = np.rint(np.cumsum(_SECONDS[gaps])).astype(np.int64).tolist()  # before which the action before each was
    (firsts,) = np.nonzero(gaps == FIRST_GAP)
    known = int(firsts[0]) + 1 if len(firsts) else len(gaps)
    return [0, *seconds][:known] + [None] * (len(gaps) - known)


def _gap_seconds(bucket: int) -> float:
    """Returns the middle of a bucket of gaps, in seconds: see `contexts`."""
    low, high = (2 ** (0.8 * b) - 1 for b in (bucket, bucket + 1))
    return float(np.sqrt(max(low, 0.5) * high)) if bucket else 0.0


_SECONDS: Final = np.array([*map(_gap_seconds, range(FIRST_GAP)), 0.0])  # of each bucket of gaps; nothing before
