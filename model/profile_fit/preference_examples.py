"""What was known of users before they did something, as a worker would have known it: counts, and vectors.

Shapes: A actions, N examples, U users, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.batches import batches
from model.data.contexts import unpack_contexts
from model.data.events import PURCHASE
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.kernels.compiled import Floats, compiled
from model.network.network import Network
from model.profile.counting import BANDS, FIELDS, Counts, copy_counts, count_contexts, no_counts
from model.profile.preference_shares import LEVEL_STARTS

_TOKENS: Final = 8192  # steps of a batch
_BUCKETS_PER_BAND: Final = 15 // BANDS


@dataclass(frozen=True, slots=True)
class PreferenceExamples:
    """N moments at which users are about to do something."""

    counts: Counts
    vectors: Floats  # (N, D)
    last_bands: NDArray[np.int64]  # (N,) of the last price, from 1 on; 0: none


@dataclass(frozen=True, slots=True)
class FieldExamples:
    """The examples of categories, of brands or of price bands, whose target is known."""

    keys: NDArray[np.int64]  # (N, E) buckets of the entries; 0: no more entries
    weights: Floats  # (N, E, K)
    vectors: Floats  # (N, D)
    targets: NDArray[np.int64]  # (N,) from 1 on
    last: NDArray[np.int64]  # (N,) the entry that was touched last
    by_rank: bool  # whether the entries are in the order in which they were touched

    @property
    def levels(self) -> NDArray[np.int64]:
        """How much is counted of each, (N,): see `level_of`."""
        levels: NDArray[np.int64] = (self.weights.sum((1, 2))[:, None] > LEVEL_STARTS).sum(1)
        return levels


def field_examples(examples: PreferenceExamples, targets: NDArray[np.int64], number: int) -> FieldExamples:
    """Returns the examples of one of categories, brands and price bands; `targets` (N, 3) as `targets_at` has them."""
    known = np.flatnonzero(targets[:, number] > 0)
    counts, by_rank = examples.counts, number < FIELDS
    if by_rank:
        keys, weights = counts.keys[known, number].astype(np.int64), counts.weights[known, number]
        last = np.zeros(len(known), np.int64)
    else:
        weights = counts.bands[known]
        exist = weights.sum((1, 2)) > 0
        keys = np.where(exist[:, None], np.arange(1, BANDS + 1), 0)
        last = np.maximum(examples.last_bands[known] - 1, 0)
    return FieldExamples(keys, weights, examples.vectors[known], targets[known, number], last, by_rank)


def preference_examples(
    network: Network, vocabulary: Vocabulary, sequences: Sequences, positions: NDArray[np.int64], device: torch.device
) -> PreferenceExamples:
    """Returns what was known right before the actions at some positions (N,), rising, none of them a user's first."""
    counts = no_counts(len(positions))
    starts = sequences.offsets[sequences.users_at(positions)]
    _count_before(sequences.contexts, starts, positions, no_counts(1), counts)
    vectors = vectors_before(network, vocabulary, sequences, positions, device)
    return PreferenceExamples(counts, vectors, _last_bands(sequences, positions, starts))


def _last_bands(sequences: Sequences, positions: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the price bands (N,) that users were in last before some positions, whose sequences start there."""
    bands = targets_at(sequences, np.arange(len(sequences)))[:, 2]
    given = np.maximum.accumulate(np.where(bands > 0, np.arange(len(bands)), -1))[positions - 1]
    return np.where(given >= starts, bands[np.maximum(given, 0)], 0)


@torch.inference_mode()
def vectors_before(
    network: Network, vocabulary: Vocabulary, sequences: Sequences, positions: NDArray[np.int64], device: torch.device
) -> Floats:
    """Computes the network's vectors (N, D) of users right before the actions at some positions (N,), rising."""
    vectors = np.zeros((len(positions), network.config.width), np.float32)
    ends = np.append(positions, -1)
    for batch in batches(sequences, tokens=_TOKENS):
        rows = np.searchsorted(positions, batch.positions + 1)
        wanted = batch.has_next & (ends[rows] == batch.positions + 1)
        if wanted.any():
            _, of_batch = network(vocabulary.tokens(batch.item_keys, batch.contexts, batch.queries).to(device))
            vectors[rows[wanted]] = of_batch[torch.from_numpy(wanted).to(device)].cpu().numpy()
    return vectors


def targets_at(sequences: Sequences, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns category, brand and price band (N, 3) of the actions at some positions; bands from 1; 0: not known."""
    fields = unpack_contexts(sequences.contexts[positions])
    bands = np.where(fields.prices > 0, 1 + (fields.prices - 1) // _BUCKETS_PER_BAND, 0)
    return np.stack((fields.categories, fields.brands, bands), 1)


def next_purchases(
    sequences: Sequences, positions: NDArray[np.int64], within_ms: int | None = None
) -> NDArray[np.int64]:
    """Returns where each user's next purchase is, from positions (N,) on; -1: there is none, or not within a time
    after the action before."""
    bought = np.where(sequences.types == PURCHASE, np.arange(len(sequences)), len(sequences))
    coming = np.minimum.accumulate(np.append(bought, len(sequences))[::-1])[::-1][positions]
    ends = sequences.offsets[sequences.users_at(positions) + 1]
    found: NDArray[np.int64] = np.where(coming < ends, coming, -1)
    if within_ms is not None:
        late = sequences.times[np.maximum(found, 0)] - sequences.times[positions - 1] > within_ms
        found[late] = -1
    return found


@compiled
def _count_before(
    contexts: NDArray[np.uint32],
    starts: NDArray[np.int64],
    positions: NDArray[np.int64],
    counts: Counts,
    into: Counts,
) -> None:
    """Counts each user's actions, from the start of their sequence on, up to each position (N,), in `counts` of one."""
    begin, at = -1, 0
    for n in range(len(positions)):
        if starts[n] != begin:
            begin = at = starts[n]
            counts.keys[:], counts.bands[:], counts.weights[:] = np.uint64(0), np.float32(0), np.float32(0)
        count_contexts(counts, 0, contexts[at : positions[n]])
        at = positions[n]
        copy_counts(counts, 0, into, n)
