"""Users' pasts as if some of their actions had never been: what reasons are fitted to, and measured by.

Shapes: N pasts, A actions of one, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.batches import STEPS
from model.data.contexts import BOUNDARY_SHIFT, FIRST_GAP, GAP_BUCKETS, GAP_SHIFT, gap_bucket_of, unpack_contexts
from model.data.query_table import QueryTable
from model.data.recent import RECENT_LENGTH, RecentActions, catalogue_items
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.network.network import Network

_AT_ONCE: Final = 256  # pasts that a network takes together
_OTHERS: Final = np.uint32(~((GAP_BUCKETS - 1) << GAP_SHIFT | 1 << BOUNDARY_SHIFT) & 0xFFFFFFFF)  # bits of the context


@dataclass(frozen=True, slots=True)
class Past:
    """The last actions of a user, oldest first."""

    item_keys: NDArray[np.uint64]  # (A,)
    contexts: NDArray[np.uint32]  # (A,)
    times: NDArray[np.int64]  # (A,) ms or NO_TIME

    def __len__(self) -> int:
        return len(self.item_keys)

    def without(self, gone: NDArray[np.bool_]) -> Past:
        """Returns the past without some actions (A,): the next one follows what was before them, in time as well."""
        kept = np.flatnonzero(~gone)
        contexts = self.contexts[kept].copy()
        opened = np.concatenate((np.zeros(1, np.int64), np.cumsum(unpack_contexts(self.contexts).boundaries)))
        for place in np.flatnonzero(np.diff(kept, prepend=-1) > 1).tolist():
            now, before = int(kept[place]), int(kept[place - 1]) if place else -1
            gap = gap_bucket_of(int(self.times[now] - self.times[before])) if place else FIRST_GAP
            opens = not place or opened[now + 1] > opened[before + 1]
            contexts[place] = (contexts[place] & _OTHERS) | np.uint32(gap << GAP_SHIFT | int(opens) << BOUNDARY_SHIFT)
        return Past(self.item_keys[kept], contexts, self.times[kept])


def past_of(sequences: Sequences, user: int) -> Past:
    """Returns what a worker knows of a user at the end of their sequence."""
    end = int(sequences.offsets[user + 1])
    known = slice(max(int(sequences.offsets[user]), end - STEPS), end)
    return Past(sequences.item_keys[known], sequences.contexts[known], sequences.times[known])


@torch.inference_mode()
def queries_after(
    network: Network, vocabulary: Vocabulary, pasts: Sequence[Past], searches: QueryTable, device: torch.device
) -> Tensor:
    """Computes the network's queries to the catalogue after N pasts, (N, D) on the device; zero after an empty one."""
    queries = torch.zeros(len(pasts), network.config.width, device=device)
    sizes = np.array([len(past) for past in pasts], np.int64)
    order = np.argsort(sizes, kind="stable")
    for chunk in np.split(order, range(_AT_ONCE, len(order), _AT_ONCE)):
        steps = int(sizes[chunk].max(initial=0))
        if not steps:
            continue
        item_keys, contexts = np.zeros((len(chunk), steps), np.uint64), np.zeros((len(chunk), steps), np.uint32)
        for row, number in enumerate(chunk.tolist()):
            item_keys[row, : sizes[number]] = pasts[number].item_keys
            contexts[row, : sizes[number]] = pasts[number].contexts
        _, vectors = network(vocabulary.tokens(item_keys, contexts, searches).to(device))
        last = torch.from_numpy(np.maximum(sizes[chunk] - 1, 0)).to(device)
        after = network.queries(vectors[torch.arange(len(chunk), device=device), last])
        queries[torch.from_numpy(chunk).to(device)] = after * torch.from_numpy(sizes[chunk] > 0).to(device)[:, None]
    return queries


def recent_of(vocabulary: Vocabulary, pasts: Sequence[Past], searches: QueryTable) -> RecentActions:
    """Returns the last actions of N pasts."""
    stops = np.cumsum([len(past) for past in pasts])
    item_keys, contexts = (
        np.concatenate([getattr(past, name) for past in pasts]) for name in ("item_keys", "contexts")
    )
    starts = np.concatenate((np.zeros(1, np.int64), stops[:-1]))
    items = catalogue_items(vocabulary, item_keys, contexts)
    recent = RecentActions(items, contexts, np.maximum(starts, stops - RECENT_LENGTH), stops, item_keys)
    return recent.with_words(searches)
