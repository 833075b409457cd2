"""What each input of the network is worth: `python -m tests.bench.features FILE ...`, logs as `nextact evaluate` reads.

Trains on all but the newest part of the logs, once with everything and once with each input blanked, in training and
in scoring alike, and ranks all items for every next item of the newest part. Nothing is chosen on a test set here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from statistics import mean, stdev
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.contexts import CONTEXT_SLICES, unpack_contexts
from model.data.events import SEARCH, Actions
from model.data.sequences import Sequences, frequent_items, sequences_of
from model.data.vocabulary import ITEM_BUCKETS, Tokens, Vocabulary
from model.evaluation.network_ranker import NetworkRanker
from model.evaluation.ranking import LIST_SIZE, Holdout, rank_all, ranking
from model.network.network import Network, NetworkConfig
from model.rounds.initial_network import cold_start, word_rows_for
from model.training.fit_network import TrainConfig, fit_network
from model.training.fit_run import FitRun
from tests.bench.logs import add_log_options, read_logs

CPU: Final = torch.device("cpu")
Blank = Callable[[Tokens], Tokens]


def without(*names: str) -> Blank:
    """Nothing in the place of some fields of the context. Without types searches are still told from the rest: what was
    searched for is another input."""
    columns = [list(CONTEXT_SLICES).index(name) for name in names]

    def blank(tokens: Tokens) -> Tokens:
        contexts = tokens.contexts.clone()
        contexts[..., columns] = 0
        return replace(tokens, contexts=contexts)

    return blank


def no_words(tokens: Tokens) -> Tokens:
    """All searches are the same search."""
    return replace(tokens, words=torch.zeros_like(tokens.words))


def one_bucket(tokens: Tokens) -> Tokens:
    """All items that the vocabulary does not have are the same item."""
    return replace(tokens, items=torch.where(tokens.items < ITEM_BUCKETS, 0, tokens.items))


INPUTS: Final[dict[str, Blank]] = {
    "": lambda tokens: tokens,
    "event type": without("types"),
    "time gap": without("gaps"),
    "session boundary": without("boundaries"),
    "category": without("categories"),
    "brand": without("brands"),
    "category and brand": without("categories", "brands"),
    "price bucket": without("prices"),
    "query words": no_words,
    "hash bucket of unknown items": one_bucket,
}


def main() -> None:
    """Prints a line per training, then a table, then one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.features", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    add_log_options(parser)
    parser.add_argument("--held-out", type=float, default=0.2, help="newest share of the actions")
    parser.add_argument("--input", choices=list(INPUTS), action="append", help="only these; '' is everything")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    actions = read_logs(options.files, options)
    sequences = sequences_of(actions)
    cut = sequences.newest(options.held_out)
    chosen = [name for name in INPUTS if name in ("", *(options.input or INPUTS)) and varies(sequences, name)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for seed in range(1, options.seeds + 1):
        for name in chosen:
            found[name].append(contestant(actions, sequences, cut, name, seed))
            print(f"seed {seed}  {title(name):40} {found[name][-1]}", flush=True)
    table(found)
    print(json.dumps({"cut": cut, "inputs": found}))


def varies(sequences: Sequences, name: str) -> bool:
    """Whether the log has the input at all; says so where it does not."""
    fields = unpack_contexts(sequences.contexts)
    given = {"price bucket": fields.prices, "query words": fields.types == SEARCH}
    given |= {"category": fields.categories, "brand": fields.brands, "category and brand": fields.categories}
    if name in given and not given[name].any():
        print(f"the log has no {name}")
        return False
    return True


def contestant(actions: Actions, sequences: Sequences, cut: int, name: str, seed: int) -> dict[str, float]:
    """Recall@20 and MRR@20 in per cent: of all targets, and of those right after an item that training did not have."""
    vocabulary = Vocabulary(frequent_items(actions.take(np.flatnonzero(actions.times < cut))))
    with blanked(INPUTS[name]):
        network = cold_start(NetworkConfig(items=len(vocabulary), word_rows=word_rows_for(sequences)), seed)
        fit_network(network, vocabulary, sequences.before(cut), TrainConfig(), FitRun(CPU, seed))
        holdout = targets(sequences, cut)
        ranks = rank_all(NetworkRanker(network, vocabulary, CPU), holdout).ranks
    before = holdout.positions - 1
    after_unseen = vocabulary.rows_of(sequences.item_keys[before]) < ITEM_BUCKETS
    after_unseen &= sequences.types[before] != SEARCH
    return measured("", ranks) | measured("_after_unseen", ranks[after_unseen])


def blanked(blank: Blank) -> Any:
    """The network sees nothing of what is blanked, whoever asks it."""
    embed = Network.embed

    def embed_blanked(network: Network, tokens: Tokens) -> tuple[Tensor, Tensor]:
        return embed(network, blank(tokens))

    return patch.object(Network, "embed", embed_blanked)


def targets(sequences: Sequences, cut: int) -> Holdout:
    """Every action on an item from the cut on that follows another of its user."""
    places = np.flatnonzero(sequences.has_next) + 1
    return Holdout(sequences, places[(sequences.times[places] >= cut) & (sequences.types[places] != SEARCH)])


def measured(suffix: str, ranks: NDArray[np.int64]) -> dict[str, float]:
    means = ranking(ranks)
    figures = {"recall": means.recall[LIST_SIZE], "mrr": means.mrr[LIST_SIZE]}
    return {f"{key}{suffix}": round(100 * value, 2) for key, value in figures.items()} | {
        f"targets{suffix}": len(ranks)
    }


def table(found: dict[str, list[dict[str, float]]]) -> None:
    """Means over the seeds, and differences to everything with their standard deviation, of the same seeds in pairs."""
    keys = ("recall", "mrr", "recall_after_unseen", "mrr_after_unseen")
    print(f"\n{'':40} " + " ".join(f"{key:>20}" for key in keys))
    for name, runs in found.items():
        print(f"{title(name):40} " + " ".join(f"{cell(runs, found[''], key, name):>20}" for key in keys))


def cell(runs: list[dict[str, float]], everything: list[dict[str, float]], key: str, name: str) -> str:
    if not name:
        return f"{mean(run[key] for run in runs):.2f}"
    differences = [run[key] - whole[key] for run, whole in zip(runs, everything, strict=True)]
    spread = f" ± {stdev(differences):.2f}" if len(differences) > 1 else ""
    return f"{mean(differences):+.2f}{spread}"


def title(name: str) -> str:
    return f"without {name}" if name else "everything"


if __name__ == "__main__":
    main()
