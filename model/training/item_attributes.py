"""What an item is, whatever users do with it: the category and the brand that the log gives last for it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.contexts import ITEM_ATTRIBUTES, item_attribute_rows
from model.data.event_log import PartedLog, parts
from model.data.events import NO_TIME, SEARCH
from model.data.sequences import Sequences
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.network.network import Network


def learn_item_attributes(network: Network, vocabulary: Vocabulary, log: PartedLog) -> None:
    """Gives the network the category and the brand that the log gives last for each item of the vocabulary."""
    attributes = np.zeros((vocabulary.rows, len(ITEM_ATTRIBUTES)), np.int64)
    times = np.full(attributes.shape, NO_TIME)
    for part in parts(log):
        newest, since = _attributes_in(part, vocabulary)
        later = (newest > 0) & (since >= times)
        attributes[later], times[later] = newest[later], since[later]
    network.set_item_attributes(torch.arange(vocabulary.rows), torch.from_numpy(attributes))


def _attributes_in(part: Sequences, vocabulary: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the last category and brand of each row of the item table (0: not given) and their times (ms); each
    (rows, 2)."""
    order = np.argsort(part.times, kind="stable")
    order = order[part.types[order] != SEARCH]
    rows = vocabulary.rows_of(part.item_keys[order])
    order, rows = order[rows >= ITEM_BUCKETS], rows[rows >= ITEM_BUCKETS]
    values = item_attribute_rows(part.contexts[order])
    attributes = np.zeros((vocabulary.rows, values.shape[1]), np.int64)
    times = np.full(attributes.shape, NO_TIME)
    for column in range(values.shape[1]):
        given = values[:, column] > 0
        attributes[rows[given], column] = values[given, column]  # of repeated rows the last one stays
        times[rows[given], column] = part.times[order[given]]
    return attributes, times
