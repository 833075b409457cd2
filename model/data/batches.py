"""Sequences as padded batches of chunks.

Shapes: A actions of all sequences, C chunks, B chunks of a batch, T steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.data.event_log import PartedLog, parts
from model.data.events import SEARCH
from model.data.sequences import Sequences

STEPS: Final = 64  # of one chunk: as much as the worker re-encodes from a user's ring
WARM_UP: Final = STEPS // 2


@dataclass(frozen=True, slots=True)
class Batch:
    """B chunks of sequences, padded at the right to T steps; every array is (B, T)."""

    places: NDArray[np.int64]  # of the actions in their part of the log
    item_keys: NDArray[np.uint64]  # 0 where padded
    contexts: NDArray[np.uint32]  # 0 where padded
    counted: NDArray[np.bool_]  # steps to learn from or to score: neither padding nor warm-up
    has_next: NDArray[np.bool_]  # counted steps that the user followed by another action
    next_objects: NDArray[np.uint64]
    next_types: NDArray[np.int64]
    next_times: NDArray[np.int64]  # ms
    purchase_soon: NDArray[np.bool_]

    @property
    def next_has_item(self) -> NDArray[np.bool_]:
        """Counted steps that the user followed by an action on an item, (B, T)."""
        on_item: NDArray[np.bool_] = self.next_types != SEARCH
        return self.has_next & on_item


@dataclass(frozen=True, slots=True)
class _Labels:
    """What is known of every action, (A,) each, computed once for all batches."""

    counted: NDArray[np.bool_]
    has_next: NDArray[np.bool_]
    types: NDArray[np.uint8]
    purchase_soon: NDArray[np.bool_]


def batches(
    log: PartedLog,
    *,
    tokens: int,
    randomness: np.random.Generator | None = None,
    cut: int | None = None,
) -> Iterator[Batch]:
    """All sequences, part by part, as batches of at most about `tokens` steps, chunks of similar length together.

    A user of more than STEPS actions is cut into chunks. Each starts from the empty state, and all but the
    first repeat WARM_UP actions of the one before: they build up the state and do not count. `randomness`
    shuffles; without it the order is fixed.
    With `cut` (ms) only steps count that an action at or after it follows.
    """
    for number in range(log.part_count) if randomness is None else randomness.permutation(log.part_count):
        yield from _batches_of(log.part(int(number)), tokens, randomness, cut)


def _batches_of(
    sequences: Sequences, tokens: int, randomness: np.random.Generator | None, cut: int | None
) -> Iterator[Batch]:
    labels = _labels(sequences, cut)
    starts, lengths, warm_ups = _chunks(sequences.offsets)
    tie = np.arange(len(starts)) if randomness is None else randomness.permutation(len(starts))
    order = np.lexsort((tie, lengths))
    groups = _groups(lengths[order], tokens)
    if randomness is not None:
        randomness.shuffle(groups)
    for low, high in groups:
        chosen = order[low:high]
        batch = _batch(sequences, labels, starts[chosen], lengths[chosen], warm_ups[chosen])
        if batch.counted.any():
            yield batch


def batch_count(log: PartedLog, tokens: int) -> int:
    """How many batches `batches` makes of this log without a cut."""
    return sum(len(_groups(np.sort(_chunks(part.offsets)[1]), tokens)) for part in parts(log))


def _labels(sequences: Sequences, cut: int | None) -> _Labels:
    counted = np.ones(len(sequences), np.bool_)
    if cut is not None:
        counted[:] = False
        counted[sequences.next_actions_from(cut) - 1] = True
    return _Labels(counted, sequences.has_next, sequences.types, sequences.purchase_soon)


def _chunks(offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First action, length and warm-up of every chunk, (C,) each."""
    sizes = np.diff(offsets)
    stride = STEPS - WARM_UP
    pieces = 1 + np.maximum(0, -(-(sizes - STEPS) // stride))
    within = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = np.repeat(offsets[:-1], pieces) + stride * within
    lengths = np.minimum(np.repeat(offsets[1:], pieces) - starts, STEPS)
    return starts, lengths, np.where(within > 0, WARM_UP, 0)


def _groups(lengths: NDArray[np.int64], tokens: int) -> list[tuple[int, int]]:
    """Consecutive ranges of rising lengths, each of at most `tokens` padded steps or a single chunk."""
    groups = []
    low = 0
    for place, length in enumerate(lengths.tolist()):
        if place > low and (place - low + 1) * length > tokens:
            groups.append((low, place))
            low = place
    return [*groups, (low, len(lengths))] if len(lengths) else []


def _batch(
    sequences: Sequences,
    labels: _Labels,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    warm_ups: NDArray[np.int64],
) -> Batch:
    steps = np.arange(lengths.max())
    filled = steps < lengths[:, None]
    places = starts[:, None] + np.minimum(steps, lengths[:, None] - 1)
    following = np.minimum(places + 1, len(sequences) - 1)
    counted = filled & (steps >= warm_ups[:, None]) & labels.counted[places]
    return Batch(
        places=places,
        item_keys=np.where(filled, sequences.item_keys[places], 0),
        contexts=np.where(filled, sequences.contexts[places], 0),
        counted=counted,
        has_next=counted & labels.has_next[places],
        next_objects=sequences.item_keys[following],
        next_types=labels.types[following].astype(np.int64),
        next_times=sequences.times[following],
        purchase_soon=labels.purchase_soon[places],
    )
