"""What ranking by network and log costs per event: `python -m tests.bench fusion`.

One thread, batches of 512 events of as many users with full histories, an untrained network and a combiner with
random weights: what they know does not matter to speed. Evidence is counted from a made-up log, so that its rows are
as long as those of a real one. Medians of processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from model.fusion.candidate_features import NETWORK_BEST
from model.serving.answers import RANKED
from model.serving.recent_actions import recent_actions
from model.serving.served_ranking import NetworkAndLog
from model.serving.serving import Serving
from model.state.history_rings import Histories
from tests.bench.compare import in_turn, seconds
from tests.bench.made_up import named, served_version, sessions

BATCH = 512


@torch.inference_mode()
def fusion(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a table and returns it: microseconds per event of each part."""
    serving, histories = _serving(options)
    runs = {name: partial(seconds, run, time.thread_time) for name, run in _parts(serving, histories).items()}
    taken = in_turn(runs, options.repeats or 30, said=False)
    found = {name: round(1e6 * median(several) / BATCH, 2) for name, several in taken.items()}
    for name, microseconds in found.items():
        print(f"{microseconds:8.1f} us per event  {name}")
    return found


def _serving(options: argparse.Namespace) -> tuple[Serving, Histories]:
    """A version of so many items that knows a log of so many events, and histories of BATCH of its users."""
    vocabulary = named(options.items)
    log = sessions(vocabulary, options.events)
    histories = Histories(64, BATCH)
    for turn in range(64):
        chosen = (np.arange(BATCH) * 64 + turn) % len(log)
        histories.append(np.arange(BATCH), log.item_keys[chosen], log.contexts[chosen])
    return served_version(log, vocabulary, torch.device("cpu")), histories


def _parts(serving: Serving, histories: Histories) -> dict[str, Callable[[], object]]:
    slots, applied = np.arange(BATCH), np.ones(BATCH, np.bool_)
    item_keys, contexts = histories.item_keys[:, 7].copy(), histories.contexts[:, 7].copy()
    vectors = torch.randn(BATCH, serving.network.config.width, generator=torch.Generator().manual_seed(1))
    queries = serving.network.queries(vectors)

    def recent_() -> Any:
        return recent_actions(serving.vocabulary, histories, slots, applied, item_keys, contexts)

    recent, ranking = recent_(), serving.ranking
    assert isinstance(ranking, NetworkAndLog)
    fusion, catalogue, best = ranking.ranking, ranking.network.catalogue, ranking.network_best(recent, queries)
    return {
        f"the network's best {RANKED}": lambda: catalogue.rank(queries, RANKED),
        f"the network's best {NETWORK_BEST}": lambda: catalogue.rank(queries, NETWORK_BEST),
        "the users' last actions": recent_,
        "candidates and their features": lambda: fusion.collect(recent, best),
        "candidates, features and the combiner's ranking": lambda: fusion.rank(recent, best, RANKED),
        "the whole answer": lambda: serving.answer(vectors, recent),
    }
