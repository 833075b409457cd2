"""What the network is to predict at each step of a batch, as tensors.

Shapes: B chunks of a batch, T steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.batches import Batch
from model.data.events import REMOVE
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.kernels.cuda import on_device


@dataclass(frozen=True, slots=True)
class Targets:
    """The right answers for each step of a batch."""

    counted: Tensor  # (B, T) bool
    has_next: Tensor  # (B, T) bool
    next_known: Tensor  # (B, T) bool: the next action is a target, on an item of the vocabulary
    next_on_item: Tensor  # (B, T) bool: the next action is on any item
    next_rows: Tensor  # (B, T) rows of the item table
    next_types: Tensor  # (B, T)
    purchase_soon: Tensor  # (B, T) bool

    def __getitem__(self, rows: Tensor) -> Targets:
        return Targets(*(getattr(self, name)[rows] for name in self.__slots__))


def targets_of(batch: Batch, vocabulary: Vocabulary, device: torch.device) -> Targets:
    """Returns the targets of a batch, on a device."""
    rows = vocabulary.rows_of(batch.next_item_keys)
    on_item = batch.next_has_item

    def tensor(array: NDArray[np.generic]) -> Tensor:
        return on_device(torch.from_numpy(array), device)

    return Targets(
        counted=tensor(batch.counted),
        has_next=tensor(batch.has_next),
        next_known=tensor(on_item & (batch.next_types != REMOVE) & (rows >= ITEM_BUCKETS)),
        next_on_item=tensor(on_item),
        next_rows=tensor(rows),
        next_types=tensor(batch.next_types),
        purchase_soon=tensor(batch.purchase_soon),
    )
