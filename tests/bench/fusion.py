"""What ranking by network and log costs per event: `python -m tests.bench fusion`.

One thread, batches of 512 events of as many users with full histories, an untrained network and a combiner with
random weights: what they know does not matter to speed. Evidence is counted from a made-up log, so that its rows are
as long as those of a real one. Medians of processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from model.answers import RANKED
from model.calibration import Calibration
from model.candidates import NETWORK_BEST
from model.checkpoint import Version
from model.combiner import Combiner
from model.data import Sequences
from model.events import CATEGORY_SHIFT, TYPE_CODES, item_object
from model.evidence import evidence_of
from model.fold import answer
from model.fusion import Fusion
from model.history import Histories
from model.network import NetworkConfig
from model.recent import recent_actions
from model.serving import Serving, serve
from model.train import cold_start
from model.vocabulary import Vocabulary

BATCH = 512
PER_USER = 12  # actions of the log
STRIDE = 40  # items that go together: the next one is within so many of the last


@torch.inference_mode()
def fusion(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a table and returns it: microseconds per event of each part."""
    torch.set_num_threads(1)
    serving, histories = _serving(options)
    seconds = _in_turn(_parts(serving, histories), options.repeats or 30)
    found = {name: round(1e6 * taken / BATCH, 2) for name, taken in seconds.items()}
    for name, microseconds in found.items():
        print(f"{microseconds:8.1f} us per event  {name}")
    return found


def _serving(options: argparse.Namespace) -> tuple[Serving, Histories]:
    """A version of so many items that knows a log of so many events, and histories of BATCH of its users."""
    vocabulary = Vocabulary([f"item-{number}" for number in range(options.items)])
    log = _log(vocabulary, options.events)
    version = Version(
        name="bench",
        created="2026-01-01T00:00:00Z",
        manifest_sha256="",
        network=cold_start(NetworkConfig(items=options.items), seed=1),
        vocabulary=vocabulary,
        calibration=Calibration(),
        fusion=Fusion(evidence_of(log, vocabulary), Combiner().eval()),
        metrics={},
        facts={},
    )
    histories = Histories(64, BATCH)
    for turn in range(64):
        chosen = (np.arange(BATCH) * 64 + turn) % len(log)
        histories.append(np.arange(BATCH), np.zeros(BATCH, np.int64), log.objects[chosen], log.contexts[chosen])
    return serve(version, torch.device("cpu")), histories


def _log(vocabulary: Vocabulary, events: int) -> Sequences:
    """Users who begin at a popular item and go on nearby; every item has a category and a brand."""
    rng = np.random.default_rng(1)
    users, size = events // PER_USER, len(vocabulary)
    first = (size * rng.random((users, 1)) ** 3).astype(np.int64)
    items = ((first + np.cumsum(rng.integers(0, STRIDE, (users, PER_USER)), 1)) % size).reshape(-1)
    objects = np.array([item_object(item) for item in vocabulary.items], np.uint64)
    buckets = np.uint32(1) + (items // STRIDE % 200).astype(np.uint32)
    contexts = np.uint32(TYPE_CODES["view"]) + (buckets << np.uint32(CATEGORY_SHIFT))
    times = np.sort(rng.integers(0, 10**10, (users, PER_USER)), 1).reshape(-1)
    return Sequences(objects[items], contexts, times, np.arange(users + 1) * PER_USER)


def _parts(serving: Serving, histories: Histories) -> dict[str, Callable[[], object]]:
    slots, applied = np.arange(BATCH), np.ones(BATCH, np.bool_)
    objects, contexts = histories.objects[:, 7].copy(), histories.contexts[:, 7].copy()
    vectors = torch.randn(BATCH, serving.network.config.width, generator=torch.Generator().manual_seed(1))
    queries = serving.network.queries(vectors)
    lanes, fusion, catalogue = serving.lanes, serving.lanes.fusion, serving.lanes.catalogue
    best = lanes.network_best(queries)

    def recent_() -> Any:
        return recent_actions(serving.vocabulary, histories, slots, applied, objects, contexts)

    recent = recent_()
    return {
        f"the network's best {RANKED}": lambda: catalogue.rank(queries, RANKED),
        f"the network's best {NETWORK_BEST}": lambda: catalogue.rank(queries, NETWORK_BEST),
        "the users' last actions": recent_,
        "candidates and their features": lambda: fusion.collect(recent, best),
        "candidates, features and the combiner's ranking": lambda: fusion.rank(recent, best, RANKED),
        "the whole answer": lambda: answer(serving, vectors, recent),
    }


def _in_turn(parts: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of a call of each."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeats):
        for name, run in parts.items():
            start = time.thread_time()
            run()
            times[name].append(time.thread_time() - start)
    return {name: median(several) for name, several in times.items()}
