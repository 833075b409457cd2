"""What `evaluate` trains beside what the trainer trains: `python -m tests.bench trainer-quality`.

All are scored on the same later events, with statistics of what their own training had: the fit of `nextact evaluate`
(the network from scratch twice), the first round of a trainer over the same events, and a trainer's second round over
them, which goes on from a first one that had all but the newest fifth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import numpy as np
import torch

from model.data.disk_log import window_in_memory
from model.data.events import Actions
from model.evaluation.fusion_ranker import FusionRanker
from model.evaluation.ranking import rank_all, ranking
from model.evaluation.split import Split
from model.rounds.experiment import fit_on_split
from model.rounds.fit_model import Model
from model.rounds.training_round import Round, RoundConfig, train_round, unsaved
from model.training.fit_run import tell_nobody
from model.versions.version import Version
from tests.bench.data_sets import chosen, known_actions, split_of

Made = TypeVar("Made")
CPU: Final = torch.device("cpu")
DEFAULT: Final = ("yoochoose", "jdata-50", "jdata-65", "jdata-80")
FIRST: Final = 0.8  # share of the known events that the first of two rounds has


def trainer_quality(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a line for each model of each data set; returns Recall@20 and MRR@20 in per cent, and seconds."""
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    with chosen(options, DEFAULT) as sources:
        for name, source in sources.items():
            found[name] = {}
            config = RoundConfig(seed=options.seed)
            for label, figures in models(split_of(source), known_actions(source), config):
                found[name][label] = figures
                print(f"{name:10} {label:20} {figures}", flush=True)
    return found


def models(split: Split, actions: Actions, config: RoundConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Trains one model after the other and yields what it reached; a round that is not promoted is scored as well."""
    hidden, seed = config.hidden, config.seed
    fitted, seconds = _timed(lambda: fit_on_split(split, hidden=hidden, seed=seed, device=CPU, tell=tell_nobody))
    yield "evaluate", _scored(split, fitted, seconds)
    whole, seconds = _timed(lambda: _round(actions, None, config))
    yield "first round", _scored(split, whole.model, seconds) | _verdict(whole)
    first, seconds = _timed(lambda: _round(actions.take(np.arange(round(FIRST * len(actions)))), None, config))
    yield "first of two rounds", _scored(split, first.model, seconds) | _verdict(first)
    champion = unsaved(first.model, trained_until=first.trained_until)
    second, seconds = _timed(lambda: _round(actions, champion, config))
    yield "second of two rounds", _scored(split, second.model, seconds) | _verdict(second)


def _timed(make: Callable[[], Made]) -> tuple[Made, float]:
    begun = time.thread_time()
    return make(), time.thread_time() - begun


def _round(actions: Actions, champion: Version | None, config: RoundConfig) -> Round:
    return train_round(window_in_memory(actions), champion, config, device=CPU, clock=time.thread_time)


def _verdict(round_: Round) -> dict[str, Any]:
    return {"promoted": round_.verdict.promoted}


def _scored(split: Split, model: Model, seconds: float) -> dict[str, Any]:
    ranker = FusionRanker(model.network, model.vocabulary, model.fusion, CPU)
    means = ranking(rank_all(ranker, split.holdout).ranks)
    return {
        "recall_at_20": round(100 * means.recall[20], 2),
        "mrr_at_20": round(100 * means.mrr[20], 2),
        "processor_seconds": round(seconds, 1),
    }
