"""What each part of the recipe is worth: `python -m tests.bench.recipe FILE`, session files as in `model/RECIPE.md`.

Trains on all sessions but the newest, once with everything and once without each part, and ranks all items for every
next item of the newest. Nothing is chosen on a test set here.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Final
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from model.data.batches import batches
from model.data.events import Actions, Event, actions_of
from model.data.sequences import Sequences, frequent_items, sequences_of
from model.data.targets import targets_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.evaluation.ranking import Ranking, ranking
from model.network.network import Network, NetworkConfig
from model.rounds.initial_network import cold_start
from model.training.fit_network import TrainConfig, fit_network
from model.training.fit_run import FitRun
from model.training.losses import NextItems
from model.training.sampled_softmax import Pairs

CPU: Final = torch.device("cpu")
HELD_OUT: Final = 0.05  # newest share of the sessions
MISSED: Final = np.iinfo(np.int64).max


def nothing_is_certain(_self: NextItems, columns: Tensor) -> Pairs:
    return Pairs(columns[:0], columns[:0])


Change = Callable[[], AbstractContextManager[object]]
PARTS: Final[dict[str, tuple[Change, dict[str, float]]]] = {
    "": (nullcontext, {}),
    "own items are sure candidates": (lambda: patch.object(NextItems, "of_same_sequence", nothing_is_certain), {}),
    "the item after the next": (lambda: patch("model.training.losses.AFTER_NEXT", 0.0), {}),
    "a blend to begin with": (lambda: patch.object(Network, "_initialise_as_blend"), {}),
    "faster embeddings": (nullcontext, {"embedding_rate": 1.0}),
    "newer actions weigh more": (nullcontext, {"half_life": 1e9}),
}


def main() -> None:
    """Prints a line per contestant."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recipe", description=__doc__)
    parser.add_argument("file", help="a session a line, item ids in order, gzipped; sessions in the order of time")
    parser.add_argument("--newest", type=float, default=1.0, help="share of the training sessions to learn from")
    parser.add_argument("--part", choices=list(PARTS), action="append", help="only these; '' is everything")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    actions, cut = read(options.file, options.newest)
    for part in options.part or PARTS:
        before = time.process_time()
        found = contestant(actions, cut, part, options.seed)
        name = f"without {part}" if part else "everything"
        print(
            f"{name:40} Recall@20 {found.recall[20]:.4f}  MRR@20 {found.mrr[20]:.4f}  "
            f"{time.process_time() - before:.0f} s of processor time",
            flush=True,
        )


def read(path: str, newest: float) -> tuple[Actions, int]:
    """Sessions as users, a second from one action to the next, and the time from which on they are held out."""
    with gzip.open(path, "rt") as lines:
        sessions = [line.split() for line in lines]
    known = round(len(sessions) * (1 - HELD_OUT))
    first = known - round(newest * known)
    events = [
        Event(user_id=str(number), type="click", item_id=item)
        for number, session in enumerate(sessions[first:])
        for item in session
    ]
    cut = 1000 * sum(map(len, sessions[first:known]))
    return actions_of(events, 1000 * np.arange(len(events))), cut


def contestant(actions: Actions, cut: int, part: str, seed: int) -> Ranking:
    change, settings = PARTS[part]
    sequences = sequences_of(actions)
    known = sequences.before(cut)
    vocabulary = Vocabulary(frequent_items(actions.take(np.flatnonzero(actions.times < cut))))
    with change():
        network = cold_start(NetworkConfig(items=len(vocabulary)), seed)
        config = replace(TrainConfig(), **settings)  # type: ignore[arg-type]
        fit_network(network, vocabulary, known, config, FitRun(CPU, seed))
    return ranking(ranks(network, vocabulary, sequences, cut))


@torch.inference_mode()
def ranks(network: Network, vocabulary: Vocabulary, sequences: Sequences, cut: int) -> np.ndarray:
    """Of every next item from the cut on, ties against the network; MISSED where it is not in the vocabulary."""
    items, found = network.item_vectors().T.contiguous(), []
    for batch in batches(sequences, tokens=1024, cut=cut):
        targets = targets_of(batch, vocabulary, CPU)
        vectors = network(vocabulary.tokens(batch.item_keys, batch.contexts, batch.queries))[1]
        scores = network.queries(vectors[targets.next_known]) @ items
        own = scores.gather(1, targets.next_rows[targets.next_known].unsqueeze(1) - ITEM_BUCKETS)
        found.append((scores >= own).sum(1).numpy())
        found.append(np.full(int((targets.has_next & ~targets.next_known).sum()), MISSED))
    return np.concatenate(found)


if __name__ == "__main__":
    main()
