"""What an item has of its own, whatever is done with it: the category and the brand that the log gives last for it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.contexts import SIDES, side_rows
from model.data.event_log import PartedLog, parts
from model.data.events import NO_TIME, SEARCH
from model.data.sequences import Sequences
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.network.network import Network


def learn_item_attributes(network: Network, vocabulary: Vocabulary, log: PartedLog) -> None:
    """Tells the network the category and the brand that the log gives last for each item of the vocabulary."""
    known = np.zeros((vocabulary.rows, len(SIDES)), np.int64)
    times = np.full(known.shape, NO_TIME)
    for part in parts(log):
        sides, since = _sides_of(part, vocabulary)
        later = (sides > 0) & (since >= times)
        known[later], times[later] = sides[later], since[later]
    network.set_item_attributes(torch.arange(vocabulary.rows), torch.from_numpy(known))


def _sides_of(part: Sequences, vocabulary: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The last category and brand of each row of the item table (0: none), and when (ms) they were given; (rows, 2)."""
    order = np.argsort(part.times, kind="stable")
    order = order[part.types[order] != SEARCH]
    rows = vocabulary.rows_of(part.item_keys[order])
    order, rows = order[rows >= ITEM_BUCKETS], rows[rows >= ITEM_BUCKETS]
    found = side_rows(part.contexts[order])
    sides = np.zeros((vocabulary.rows, found.shape[1]), np.int64)
    times = np.full(sides.shape, NO_TIME)
    for column in range(found.shape[1]):
        given = found[:, column] > 0
        sides[rows[given], column] = found[given, column]  # of repeated rows the last one stays
        times[rows[given], column] = part.times[order[given]]
    return sides, times
