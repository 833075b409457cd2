"""Fits a model on a split for an evaluation, and lists the baselines that are ranked beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch

from model.data.log_summary import summarise
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.evaluation.baselines import ItemIndex, OwnItems, PopularItems, RulesRanker, Transitions
from model.evaluation.evaluate import learned_rules
from model.evaluation.network_ranker import NetworkRanker
from model.evaluation.ranking import Ranker, Ranking, rank_all, ranking
from model.evaluation.session_knn import SessionKnn
from model.evaluation.split import Split, validation
from model.network.network import NetworkConfig
from model.rounds.fit_model import FitModelConfig, Model, StartingPoint, fit_model
from model.rounds.initial_network import cold_start, cold_start_for, word_rows_for
from model.serving.rules import RULES_HALF_LIFE
from model.training.fit_network import fit_network
from model.training.fit_run import FitRun, Progress, Tell

# In the order of every table; each is made only when it is its turn.
BASELINES: Final[dict[str, Callable[[Sequences, ItemIndex], Ranker]]] = {
    "popularity": lambda _known, items: PopularItems(items),
    "recent_popularity": lambda _known, items: PopularItems(items, RULES_HALF_LIFE),
    "own_items": lambda _known, items: OwnItems(PopularItems(items)),
    "transitions": lambda _known, items: Transitions(items, PopularItems(items)),
    "rules": lambda known, _items: RulesRanker(learned_rules(known)),
    "v_sknn": SessionKnn,
}


def fit_on_split(
    split: Split, *, hidden: int, seed: int, device: torch.device, tell: Tell, live: bool = False
) -> Model:
    """Fits a model to all that is known, its network from scratch twice; a trainer's rounds spend less.

    `live`: for statistics that learn as the log passes, with another fusion for ones that stand still; else for these.
    """
    items = summarise(split.known).dated(split.items)
    shape = NetworkConfig(items=0, hidden=hidden, word_rows=word_rows_for(split.known))
    start = StartingPoint(partial(cold_start_for, shape, seed))
    return fit_model(split.known, items, start, FitModelConfig(live=live, also_still=live), FitRun(device, seed, tell))


def quality_by_epoch(
    split: Split, *, hidden: int, seed: int, device: torch.device, progress: Callable[[Progress], None]
) -> list[Ranking]:
    """Measures the network after each epoch, on the newest slice of training: it has learned neither from the
    actions in it nor which items appeared in it."""
    known, holdout = validation(split.known)
    vocabulary = Vocabulary(summarise(known).dated(split.items).before(split.cut).ids)
    shape = NetworkConfig(items=len(vocabulary), hidden=hidden, word_rows=word_rows_for(known))
    network = cold_start(shape, seed)
    rankings: list[Ranking] = []

    def score() -> None:
        rankings.append(ranking(rank_all(NetworkRanker(network, vocabulary, device), holdout).ranks))

    run = FitRun(device, seed, lambda _stage, step: progress(step))
    fit_network(network, vocabulary, known, FitModelConfig().train, run, after_epoch=score)
    return rankings
