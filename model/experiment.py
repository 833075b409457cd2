"""Training on what is known, and everything that ranks beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from model.data import Sequences
from model.evaluate import learned_rules
from model.network import Network, NetworkConfig
from model.network_ranking import NetworkRanker
from model.offline_baselines import HALF_LIFE, Items, OwnItems, Popular, Served, Transitions
from model.ranking import Ranker, Ranking, rank_all, ranking
from model.session_knn import SessionKnn
from model.split import Split, validation
from model.train import FitReport, Progress, TrainConfig, cold_start, fit
from model.vocabulary import Vocabulary

# The order is that of every table; each is made only when it is its turn.
BASELINES: Final[dict[str, Callable[[Sequences, Items], Ranker]]] = {
    "popularity": lambda _known, items: Popular(items),
    "recent_popularity": lambda _known, items: Popular(items, HALF_LIFE),
    "own_items": lambda _known, items: OwnItems(Popular(items)),
    "transitions": lambda _known, items: Transitions(items, Popular(items)),
    "rules": lambda known, _items: Served(learned_rules(known)),
    "v_sknn": SessionKnn,
}


@dataclass(frozen=True, slots=True)
class Learned:
    """A network and what training did."""

    network: Network
    vocabulary: Vocabulary
    report: FitReport


def learn(
    split: Split,
    *,
    hidden: int,
    seed: int,
    device: torch.device,
    progress: Callable[[Progress], None] = lambda _progress: None,
) -> Learned:
    """Trains a network from nothing on all that is known, as a first round of the trainer does."""
    return _learn(split.known, split.items, hidden, seed, device, progress, lambda _network, _vocabulary: None)


def quality_by_epoch(
    split: Split,
    *,
    hidden: int,
    seed: int,
    device: torch.device,
    progress: Callable[[Progress], None] = lambda _progress: None,
) -> list[Ranking]:
    """How good a network is after each epoch, on the newest part of training, which it has not learned from."""
    known, holdout = validation(split.known)
    reached: list[Ranking] = []

    def score(network: Network, vocabulary: Vocabulary) -> None:
        reached.append(ranking(rank_all(NetworkRanker(network, vocabulary, device), holdout).ranks))

    _learn(known, split.items, hidden, seed, device, progress, score)
    return reached


def _learn(
    known: Sequences,
    items: list[str],
    hidden: int,
    seed: int,
    device: torch.device,
    progress: Callable[[Progress], None],
    after_epoch: Callable[[Network, Vocabulary], None],
) -> Learned:
    vocabulary = Vocabulary(items)
    network = cold_start(NetworkConfig(items=len(vocabulary), hidden=hidden), seed)
    report = fit(
        network,
        vocabulary,
        known,
        TrainConfig(),
        seed=seed,
        device=device,
        progress=progress,
        after_epoch=lambda: after_epoch(network, vocabulary),
    )
    return Learned(network, vocabulary, report)
