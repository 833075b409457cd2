"""The network that a fit begins with: new weights, or an earlier version's, carried over to another vocabulary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from model.data.event_log import EventLog
from model.data.queries import folded_words
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.network.network import LARGE_WORDS, SMALL_WORDS, Network, NetworkConfig, WordRows
from model.versions.version import Version


def cold_start(config: NetworkConfig, seed: int) -> Network:
    """Makes a network with random weights; the same seed gives the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(config)


def cold_start_for(config: NetworkConfig, seed: int, vocabulary: Vocabulary) -> Network:
    """Does what `cold_start` does, for the items of a vocabulary."""
    return cold_start(replace(config, items=len(vocabulary)), seed)


def warm_start(old: Version, vocabulary: Vocabulary, generator: torch.Generator) -> Network:
    """Makes the old version's network for another vocabulary: items that are new to it start near their buckets."""
    return _carried_over(old.network, old.vocabulary, vocabulary, generator)


def carried_over(network: Network, known: Vocabulary, vocabulary: Vocabulary, seed: int) -> Network:
    """Returns a network, in evaluation mode, for another vocabulary than its own; itself where the items are the same.

    Items that are new to it start near their buckets.
    """
    if vocabulary.items == known.items:
        return network
    return _carried_over(network, known, vocabulary, torch.Generator().manual_seed(seed)).eval()


def _carried_over(old: Network, known: Vocabulary, vocabulary: Vocabulary, generator: torch.Generator) -> Network:
    """Makes a network with the weights of one that knows other items, on the CPU."""
    network = Network(replace(old.config, items=len(vocabulary)))
    rows = torch.from_numpy(known.rows_of(vocabulary.item_keys))
    weights = {name: tensor.cpu() for name, tensor in old.state_dict().items()}
    table = weights["items.weight"]
    # Without noise the new items of one bucket would have equal vectors for ever.
    noise = torch.randn(len(rows), table.shape[1], generator=generator) * 0.1 * table.shape[1] ** -0.5
    items = table[rows] + noise * (rows < ITEM_BUCKETS).unsqueeze(1)
    sides = weights["sides"][rows] * (rows >= ITEM_BUCKETS).unsqueeze(1)
    grown = {
        "items.weight": torch.cat((table[:ITEM_BUCKETS], items)),
        "sides": torch.cat((weights["sides"][:ITEM_BUCKETS], sides)),
    }
    network.load_state_dict({**weights, **grown})
    return network


def word_rows_for(log: EventLog, most: WordRows = LARGE_WORDS) -> WordRows:
    """Returns how many rows for words a network for a log needs: without searches, none that it will ever learn."""
    return most if len(log.queries) else SMALL_WORDS


def with_word_rows(network: Network, word_rows: WordRows) -> Network:
    """Returns a network with at least so many rows for words; each word begins with the row that it shared before."""
    known = network.config.word_rows
    if known >= word_rows:
        return network
    rows = torch.from_numpy(folded_words(np.arange(word_rows), known - 1))
    weights = network.state_dict()
    grown = Network(replace(network.config, word_rows=word_rows))
    grown.load_state_dict({**weights, "words.weight": weights["words.weight"][rows]})
    return grown
