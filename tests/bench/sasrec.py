"""SASRec on the same files: `python -m tests.bench sasrec`; a neural peer, trained by the loss that trains ours.

Dropout and the number of epochs are what is best on the newest tenth of the training data, held out, by the sum of
Recall@20 and MRR@20; then the network learns from all of the training data for so many epochs and is scored. It reads
items and nothing else, as its authors' does; the other settings are those of eSASRec's for small logs (learning rate
1e-3 without a schedule), with the width of ours.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from model.data.batches import Batch, batches
from model.data.sequences import Sequences
from model.data.targets import targets_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.evaluation.baselines import ItemIndex
from model.evaluation.network_ranker import TOKENS, exact_ranks
from model.evaluation.quality import QualityMeter, slices
from model.evaluation.ranking import LIST_SIZE, MISSED, Holdout, RankedTargets, Ranking, rank_all, ranking
from model.evaluation.split import Split, validation
from model.network.network import Network
from model.training.fit_network import TrainConfig
from model.training.losses import NextItems, Popularity, item_loss
from tests.bench.data_sets import chosen, split_of
from tests.bench.sasrec_network import SasRec

DEFAULT: Final = ("yoochoose", "jdata-80")
DROPOUTS: Final = (0.2, 0.5)
MOST_EPOCHS: Final = 60
PATIENCE: Final = 5  # epochs without a better one
RATE: Final = 1e-3
CPU: Final = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the held-out part of the training data has chosen."""

    dropout: float
    epochs: int


def sasrec(options: argparse.Namespace) -> dict[str, Any]:
    """Prints what each data set's held-out part picks and what that reaches on the test; returns it."""
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    with chosen(options, DEFAULT) as sources:
        for name, source in sources.items():
            split, begun, busy = split_of(source), time.perf_counter(), time.process_time()
            vocabulary = Vocabulary(split.items)
            recipe = pick(split, vocabulary, options.seed)
            chosen_after = time.perf_counter() - begun
            network = train(split.known, vocabulary, recipe, options.seed)
            figures = _measured(split, rank_all(SasRecRanker(network, vocabulary), split.holdout))
            figures |= {"dropout": recipe.dropout, "epochs": recipe.epochs, "choosing_seconds": round(chosen_after, 1)}
            figures["seconds"] = round(time.perf_counter() - begun, 1)
            figures["processor_seconds"] = round(time.process_time() - busy, 1)
            found[name] = figures
            print(f"{name}: {figures}", flush=True)
    return found


def pick(split: Split, vocabulary: Vocabulary, seed: int) -> Recipe:
    """The dropout and number of epochs that are best on the newest part of the training data; prints each epoch."""
    known, holdout = validation(split.known)
    tried: dict[Recipe, float] = {}
    for dropout in DROPOUTS:
        scores: list[float] = []

        def score(network: SasRec, scores: list[float] = scores, dropout: float = dropout) -> bool:
            means = ranking(rank_all(SasRecRanker(network, vocabulary), holdout).ranks)
            scores.append(means.recall[20] + means.mrr[20])
            print(f"dropout {dropout}  epoch {len(scores):3}  {_pair(means)}", flush=True)
            return len(scores) - 1 - int(np.argmax(scores)) < PATIENCE

        train(known, vocabulary, Recipe(dropout, MOST_EPOCHS), seed, after_epoch=score)
        tried |= {Recipe(dropout, epoch): value for epoch, value in enumerate(scores, 1)}
    return max(tried, key=lambda recipe: tried[recipe])


def train(
    log: Sequences,
    vocabulary: Vocabulary,
    recipe: Recipe,
    seed: int,
    after_epoch: Callable[[SasRec], bool] = lambda _network: True,
) -> SasRec:
    """Trains a network for some epochs, fewer where `after_epoch` says no; it ends in evaluation mode."""
    torch.manual_seed(seed)
    network = SasRec(len(vocabulary), recipe.dropout).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.9, 0.98))
    rows = vocabulary.rows_of(log.item_keys[log.targets_from()])
    popularity = Popularity(np.bincount(rows, minlength=vocabulary.rows)[ITEM_BUCKETS:])
    generator, randomness = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    tokens = TrainConfig().tokens(len(log))  # batches as large as ours
    for _ in range(recipe.epochs):
        for batch in batches(log, tokens=tokens, randomness=randomness):
            loss = _loss(network, vocabulary, batch, popularity, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        goes_on = after_epoch(network)
        network.train()
        if not goes_on:
            break
    return network.eval()


def _loss(
    network: SasRec, vocabulary: Vocabulary, batch: Batch, popularity: Popularity, generator: torch.Generator
) -> Tensor:
    targets = targets_of(batch, vocabulary, CPU)
    known = targets.next_known
    vectors = network(item_codes(vocabulary, batch))[known]
    items = targets.next_rows[known] - ITEM_BUCKETS
    next_items = NextItems(items, known.nonzero()[:, 0], torch.ones(len(items)))
    # It has what the loss asks of a network: the number of items, queries, and the items' vectors.
    return item_loss(cast(Network, network), vectors, next_items, popularity.sample(items, generator))


def item_codes(vocabulary: Vocabulary, batch: Batch) -> Tensor:
    """The items of a batch, (B, T), from 1 on; 0 for searches and for items that training does not have."""
    return torch.from_numpy(np.maximum(vocabulary.rows_of(batch.item_keys) - ITEM_BUCKETS + 1, 0))


class SasRecRanker:
    """Ranks all items by a trained network."""

    def __init__(self, network: SasRec, vocabulary: Vocabulary) -> None:
        self._network = network
        self._vocabulary = vocabulary

    @torch.inference_mode()
    def rank(self, holdout: Holdout) -> RankedTargets:
        """Ranks by the products; an item that is not in the vocabulary is not ranked."""
        items, queries = self._network.item_vectors(), self._queries(holdout)
        codes = self._vocabulary.rows_of(holdout.item_keys) - ITEM_BUCKETS
        ranks, known = np.full(len(holdout), MISSED), codes >= 0
        ranks[known] = exact_ranks(queries[torch.from_numpy(known)], items, torch.from_numpy(codes[known]))
        top = np.zeros((len(holdout), LIST_SIZE), np.uint64)
        for start in range(0, len(holdout), 512):
            best = (queries[start : start + 512] @ items.T).topk(min(LIST_SIZE, len(items))).indices.numpy()
            top[start : start + 512, : best.shape[1]] = self._vocabulary.item_keys[best]
        return RankedTargets(ranks, top)

    def _queries(self, holdout: Holdout) -> Tensor:
        queries = torch.zeros(len(holdout), self._network.width)
        ends = np.append(holdout.positions, -1)
        for batch in batches(holdout.sequences, tokens=TOKENS):
            targets = np.searchsorted(holdout.positions, batch.positions + 1)
            wanted = batch.has_next & (ends[targets] == batch.positions + 1)
            if wanted.any():
                vectors = self._network(item_codes(self._vocabulary, batch))[torch.from_numpy(wanted)]
                queries[torch.from_numpy(targets[wanted])] = vectors
        return queries


def _measured(split: Split, ranked: RankedTargets) -> dict[str, Any]:
    items = ItemIndex(split.known)
    meter, parts = QualityMeter(items, split.holdout.item_keys), slices(split, items.item_keys)["repeat"]
    whole = meter.measure(ranked)
    found: dict[str, Any] = {
        "targets": whole.targets,
        "unseen": round(100 * whole.unseen, 2),
        "all": _pair(whole.means),
    }
    return found | {part: _pair(meter.measure(ranked, subset).means) for part, subset in parts.items()}


def _pair(means: Ranking) -> str:
    return f"{100 * means.recall[20]:.2f} / {100 * means.mrr[20]:.2f}"
