"""Training on what is known, and everything that ranks beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch

from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.evaluation.baselines import ItemIndex, OwnItems, PopularItems, RulesRanker, Transitions
from model.evaluation.evaluate import learned_rules
from model.evaluation.network_ranker import NetworkRanker
from model.evaluation.ranking import Ranker, Ranking, rank_all, ranking
from model.evaluation.session_knn import SessionKnn
from model.evaluation.split import Split, validation
from model.network.network import NetworkConfig
from model.rounds.fit_model import FitModelConfig, Model, Tell, fit_model
from model.rounds.initial_network import cold_start
from model.serving.rules import RULES_HALF_LIFE
from model.training.fit_network import Progress, fit_network

# The order is that of every table; each is made only when it is its turn.
BASELINES: Final[dict[str, Callable[[Sequences, ItemIndex], Ranker]]] = {
    "popularity": lambda _known, items: PopularItems(items),
    "recent_popularity": lambda _known, items: PopularItems(items, RULES_HALF_LIFE),
    "own_items": lambda _known, items: OwnItems(PopularItems(items)),
    "transitions": lambda _known, items: Transitions(items, PopularItems(items)),
    "rules": lambda known, _items: RulesRanker(learned_rules(known)),
    "v_sknn": SessionKnn,
}


def learn_split(split: Split, *, hidden: int, seed: int, device: torch.device, tell: Tell) -> Model:
    """Learns from nothing all that is known, as the first round of a trainer does."""
    vocabulary = Vocabulary(split.items)
    start = partial(cold_start, NetworkConfig(items=len(vocabulary), hidden=hidden), seed)
    return fit_model(split.known, vocabulary, start, FitModelConfig(), seed=seed, device=device, tell=tell)


def quality_by_epoch(
    split: Split, *, hidden: int, seed: int, device: torch.device, progress: Callable[[Progress], None]
) -> list[Ranking]:
    """How good the network is after each epoch, on the newest part of training, which it has not learned from."""
    known, holdout = validation(split.known)
    vocabulary = Vocabulary(split.items)
    network = cold_start(NetworkConfig(items=len(vocabulary), hidden=hidden), seed)
    reached: list[Ranking] = []

    def score() -> None:
        reached.append(ranking(rank_all(NetworkRanker(network, vocabulary, device), holdout).ranks))

    config = FitModelConfig().train
    fit_network(network, vocabulary, known, config, seed=seed, device=device, progress=progress, after_epoch=score)
    return reached
