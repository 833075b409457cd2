"""Padded batches of chunks of users' sequences, for training and evaluation.

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
from model.data.query_table import QueryTable
from model.data.sequences import Sequences

STEPS: Final = 64  # of a chunk, at most: as many as the worker re-encodes from a user's ring
WARM_UP: Final = STEPS // 2  # steps that a chunk repeats of the one before it


@dataclass(frozen=True, slots=True)
class Batch:
    """B chunks of sequences, padded at the right to T steps; every array is (B, T)."""

    queries: QueryTable  # the words of the searches
    positions: NDArray[np.int64]  # of the actions in their part of the log
    item_keys: NDArray[np.uint64]  # 0 where padded
    contexts: NDArray[np.uint32]  # 0 where padded
    counted: NDArray[np.bool_]  # whether a step is learned from or scored: not padding, warm-up or inside an event
    has_next: NDArray[np.bool_]  # whether it is counted and another event of the user comes after it
    next_item_keys: NDArray[np.uint64]
    next_types: NDArray[np.int64]
    next_times: NDArray[np.int64]  # ms
    purchase_soon: NDArray[np.bool_]

    @property
    def next_has_item(self) -> NDArray[np.bool_]:
        """Whether each step counts and the user's next action is on an item, (B, T)."""
        on_item: NDArray[np.bool_] = self.next_types != SEARCH
        return self.has_next & on_item


@dataclass(frozen=True, slots=True)
class _Labels:
    """Labels of all actions, (A,) each, computed once for all batches."""

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
    """Yields all sequences, part by part, in batches of at most about `tokens` steps and of chunks of similar length.

    A user with more than STEPS actions is cut into chunks. Each starts from the empty state, and all but the
    first repeat WARM_UP actions of the one before, which build up the state and do not count. `randomness`
    shuffles; without it the order is fixed.
    With `cut` (ms) only those steps count whose next action is at or after it.
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
        chunks = order[low:high]
        batch = _batch(sequences, labels, starts[chunks], lengths[chunks], warm_ups[chunks])
        if batch.counted.any():
            yield batch


def batch_count(log: PartedLog, tokens: int) -> int:
    """Counts the batches that `batches` makes of a log without a cut."""
    return sum(len(_groups(np.sort(_chunks(sequences.offsets)[1]), tokens)) for sequences in parts(log))


def _labels(sequences: Sequences, cut: int | None) -> _Labels:
    counted = sequences.ends_event
    if cut is not None:
        counted[:] = False
        counted[sequences.next_actions_from(cut) - 1] = True
    return _Labels(counted, sequences.has_next, sequences.types, sequences.purchase_soon)


def _chunks(offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the first action, the length and the warm-up of every chunk, (C,) each."""
    sizes = np.diff(offsets)
    stride = STEPS - WARM_UP
    counts = 1 + np.maximum(0, -(-(sizes - STEPS) // stride))  # chunks of each user
    numbers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # within the user
    starts = np.repeat(offsets[:-1], counts) + stride * numbers
    lengths = np.minimum(np.repeat(offsets[1:], counts) - starts, STEPS)
    return starts, lengths, np.where(numbers > 0, WARM_UP, 0)


def _groups(lengths: NDArray[np.int64], tokens: int) -> list[tuple[int, int]]:
    """Cuts rising lengths into consecutive ranges, each of at most `tokens` padded steps or a single chunk."""
    groups = []
    low = 0
    for index, length in enumerate(lengths.tolist()):
        if index > low and (index - low + 1) * length > tokens:
            groups.append((low, index))
            low = index
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
    positions = starts[:, None] + np.minimum(steps, lengths[:, None] - 1)
    following = np.minimum(positions + 1, len(sequences) - 1)
    counted = filled & (steps >= warm_ups[:, None]) & labels.counted[positions]
    return Batch(
        queries=sequences.queries,
        positions=positions,
        item_keys=np.where(filled, sequences.item_keys[positions], 0),
        contexts=np.where(filled, sequences.contexts[positions], 0),
        counted=counted,
        has_next=counted & labels.has_next[positions],
        next_item_keys=sequences.item_keys[following],
        next_types=labels.types[following].astype(np.int64),
        next_times=sequences.times[following],
        purchase_soon=labels.purchase_soon[positions],
    )
