"""What it is worth to read queries in every language: `python -m tests.bench.queries --language en --language zh`.

The simulated shop with searches in some languages, written in any case, width and composition. The network learns from
all but the newest part of its events, and ranks all items for every next item of that part: once with the words that
queries had before, which are cut at blanks alone, and once with today's, in small and in large tables of words.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import mean, stdev
from typing import Any, Final
from unittest.mock import patch

import msgspec
import numpy as np
import torch

from model.data import queries
from model.data.events import SEARCH, Actions, Event, actions_of
from model.data.sequences import Sequences, frequent_items, sequences_of
from model.data.vocabulary import Vocabulary
from model.evaluation.network_ranker import NetworkRanker
from model.evaluation.ranking import LIST_SIZE, Holdout, rank_all, ranking
from model.network.network import LARGE_WORDS, SMALL_WORDS, NetworkConfig, WordRows
from model.rounds.initial_network import cold_start
from model.training.fit_network import TrainConfig, fit_network
from model.training.fit_run import FitRun
from stream_app.sandbox.languages import LANGUAGES, language_of
from stream_app.sandbox.simulate import Shop

CPU: Final = torch.device("cpu")
CONTESTANTS: Final[dict[str, tuple[bool, WordRows]]] = {
    "words of before, 4,096 rows": (True, SMALL_WORDS),
    "today's words, 4,096 rows": (False, SMALL_WORDS),
    "today's words, 65,536 rows": (False, LARGE_WORDS),
}
Measured = dict[str, float]


def main() -> None:
    """Prints a line per training, then a table, then one JSON object."""
    options = parser().parse_args()
    torch.set_num_threads(1)
    languages = options.language or ["en", "de", "zh"]
    shop = Shop(1, start=1.7e9, rate=50.0, items=options.items, users=options.users, languages=languages)
    events = list(shop.events(options.events))
    found: dict[str, list[Measured]] = {name: [] for name in CONTESTANTS}
    for seed in range(1, options.seeds + 1):
        for name, (before, rows) in CONTESTANTS.items():
            found[name].append(contestant(events, languages, rows, seed, before=before))
            print(f"seed {seed}  {name:30} {found[name][-1]}", flush=True)
    table(found)
    print(json.dumps({"languages": languages, "words": found}))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.bench.queries", description=__doc__)
    made.add_argument(
        "--language", choices=LANGUAGES, action="append", help="several may be given; default: en, de, zh"
    )
    made.add_argument("--events", type=int, default=60_000)
    made.add_argument("--items", type=int, default=500)
    made.add_argument("--users", type=int, default=1000)
    made.add_argument("--seeds", type=int, default=3)
    return made


def contestant(
    events: Sequence[dict[str, Any]], languages: Sequence[str], rows: WordRows, seed: int, *, before: bool
) -> Measured:
    """Recall@20 and MRR@20 in per cent of a network: of all targets, and of those after a search, by its language."""
    with words_of_before() if before else ExitStack():
        actions = actions_of(
            [msgspec.convert(event, Event) for event in events], [event["timestamp"] for event in events]
        )
    sequences = sequences_of(actions)
    cut = sequences.newest(0.2)
    vocabulary = Vocabulary(frequent_items(actions.take(np.flatnonzero(actions.times < cut))))
    network = cold_start(NetworkConfig(items=len(vocabulary), word_rows=rows), seed)
    fit_network(network, vocabulary, sequences.before(cut), TrainConfig(), FitRun(CPU, seed))
    holdout = Holdout(sequences, sequences.targets_from(cut))
    ranks = rank_all(NetworkRanker(network, vocabulary, CPU), holdout).ranks
    after_search = sequences.types[holdout.positions - 1] == SEARCH
    spoken = languages_of(actions, sequences, languages)[sequences.users_at(holdout.positions)]
    measured = figures("all", ranks)
    for language in languages:
        measured |= figures(f"after a search in {language}", ranks[after_search & (spoken == language)])
    return measured


@contextmanager
def words_of_before() -> Iterator[None]:
    """Queries have the words that they had before they were read in every language."""
    with (
        patch.object(queries, "words_of", lambda text: re.findall(r"\w+", text.casefold())),
        patch.object(queries, "ends_of", lambda words, most: words[:most]),
    ):
        yield


def languages_of(actions: Actions, sequences: Sequences, languages: Sequence[str]) -> Any:
    """The language of each user, in the order of the sequences."""
    users = list(dict.fromkeys(actions.users))
    assert len(users) == len(sequences.offsets) - 1
    return np.array([language_of(user, languages) for user in users])


def figures(part: str, ranks: Any) -> Measured:
    found = ranking(ranks)
    return {
        f"{part}: recall@20": round(100 * found.recall[LIST_SIZE], 2),
        f"{part}: mrr@20": round(100 * found.mrr[LIST_SIZE], 2),
    }


def table(found: dict[str, list[Measured]]) -> None:
    """Means over the seeds, and their spread."""
    for figure in next(iter(found.values()))[0]:
        print(f"\n{figure}")
        for name, runs in found.items():
            values = [run[figure] for run in runs]
            spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
            print(f"  {name:30} {mean(values):6.2f}{spread}")


if __name__ == "__main__":
    main()
