"""Items that nobody has touched for long leave a version: with them go their rows, in the trainer and in every worker.

A log may be only the newest part of what happened, so that an item that is not in it has perhaps been seen a week ago:
what a version knows of the times before is carried from one to the next.
Shapes: I items of a vocabulary.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.events import NO_TIME
from model.data.log_summary import LogSummary
from model.data.vocabulary import Vocabulary

_DAY: Final = 86_400_000  # ms


def without_forgotten(
    vocabulary: Vocabulary, known: Vocabulary, summary: LogSummary, days: float, learned_until: int
) -> Vocabulary:
    """Leaves out the items that were last seen more than so many days before the newest event of a log; 0: none.

    `known` is a vocabulary that has the times of before; where it lacks them, its items count as seen at
    `learned_until` (ms).
    """
    newest = summary.span[1]
    times = np.maximum(
        _times_before(vocabulary, known, learned_until), summary.last_seen_of(vocabulary.item_keys, NO_TIME)
    )
    times[times == NO_TIME] = newest  # seen at a time that is not known
    # One event from the future must not make all others old: an item of the newest tenth stays.
    since = min(newest - days * _DAY, summary.newest(0.1)) if days else float(times.min(initial=0))
    return vocabulary.seen(times, since)


def _times_before(vocabulary: Vocabulary, known: Vocabulary, learned_until: int) -> NDArray[np.int64]:
    """Returns when the known ones among the items were seen last, (I,) ms; NO_TIME for the others."""
    before = np.full(len(known), learned_until) if known.last_seen is None else known.last_seen
    indices = known.table.find(vocabulary.item_keys)
    return np.where(indices >= 0, np.append(before, NO_TIME)[indices], NO_TIME)
