"""The purchase probability beside gradient-boosted trees: `python -m tests.bench.purchase --events F --test-events F`.

Both learn from what lies before the first test event and are scored after later events, by the same labels, where the
log lasts long enough to tell. The trees get columns of their own: the last actions, and counts over all that the user
did before.
Without `--test-events` the newest part of the log is foreseen: choices are made there, not on a test.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from model.data.contexts import TYPE_SLOTS, unpack_contexts
from model.data.events import PURCHASE
from model.data.sequences import Sequences
from model.data.vocabulary import Vocabulary
from model.evaluation.probability_quality import ProbabilityQuality, probability_quality
from model.evaluation.purchase_quality import purchase_quality
from model.evaluation.split import Split, split_log
from model.network.purchase_head import PurchaseHead
from model.rounds.fit_purchases import fit_purchases
from tests.bench.logs import add_log_options, read_logs

NEVER: Final = 999  # actions since the last of a type that there was none of
BEFORE: Final = 3  # earlier actions whose types are columns


def main() -> None:
    """Prints a line per contestant and seed, then one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.purchase", description=__doc__)
    parser.add_argument("--events", action="append", required=True, metavar="FILE")
    parser.add_argument("--test-events", action="append", default=[], metavar="FILE")
    add_log_options(parser)
    parser.add_argument("--held-out", type=float, default=0.15, help="newest share of the actions, without a test")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    split = read_split(options)
    found = {"trees": [trees(split, seed) for seed in range(1, options.seeds + 1)]}
    show("gradient-boosted trees", found["trees"])
    found["nextact"] = [served(split, seed) for seed in range(1, options.seeds + 1)]
    show("nextact", found["nextact"])
    print(json.dumps({name: [asdict(run) for run in runs] for name, runs in found.items()}))


def read_split(options: argparse.Namespace) -> Split:
    """The logs, cut at the first test event or where the newest share begins."""
    known = read_logs(options.events, options)
    if options.test_events:
        test = read_logs(options.test_events, options)
        return split_log([known, test], int(test.times.min()))
    return split_log([known], int(np.quantile(known.times, 1 - options.held_out, method="higher")))


def served(split: Split, seed: int) -> ProbabilityQuality:
    """What would be served: the head reads nothing of the rest of the network, which need not be trained for it."""
    head, vocabulary = PurchaseHead(), Vocabulary(split.items)
    calibration = fit_purchases(head, vocabulary, split.known, seed=seed)
    return checked(purchase_quality(head, vocabulary, calibration, split.holdout.sequences, cut=split.cut))


def trees(split: Split, seed: int) -> ProbabilityQuality:
    """scikit-learn's, with its own settings."""
    before, after = split.known, split.holdout.sequences
    model = HistGradientBoostingClassifier(random_state=seed)
    model.fit(columns(before)[before.purchase_known], before.purchase_soon[before.purchase_known])
    places = np.flatnonzero((after.times >= split.cut) & after.purchase_known)
    found = model.predict_proba(columns(after)[places])[:, 1]
    return checked(probability_quality(found, after.purchase_soon[places], after.users_at(places)))


def columns(sequences: Sequences) -> NDArray[np.float64]:
    """What is known right after each action, (A, columns)."""
    fields = unpack_contexts(sequences.contexts)
    names = ("types", "gaps", "boundaries", "categories", "brands", "prices")
    last = np.stack([getattr(fields, name) for name in names], 1)
    ends = zip(sequences.offsets[:-1].tolist(), sequences.offsets[1:].tolist(), strict=True)
    counted = [row for start, stop in ends for row in history(last[start:stop], sequences.item_keys[start:stop])]
    return np.concatenate((last, np.array(counted, np.float64)), 1)


def history(last: NDArray[np.int64], item_keys: NDArray[np.uint64]) -> list[list[int]]:
    """Counts over one user's actions so far, a row each."""
    rows, kinds = [], last[:, 0].tolist()
    types, items, bought, categories = Counter[int](), Counter[int](), Counter[int](), Counter[int]()
    latest, in_session = dict[int, int](), 0
    for place, (kind, item) in enumerate(zip(kinds, item_keys.tolist(), strict=True)):
        category, in_session = int(last[place, 3]), 1 if last[place, 2] else in_session + 1
        types[kind] += 1
        latest[kind] = place
        before = [kinds[place - back] if back <= place else -1 for back in range(1, 1 + BEFORE)]
        of_types = [value for code in range(TYPE_SLOTS) for value in (types[code], place - latest.get(code, -NEVER))]
        rows.append(
            [place, in_session, items[item], bought[item], categories[category], len(items), *of_types, *before]
        )
        items[item] += 1
        categories[category] += 1
        bought[item] += kind == PURCHASE
    return rows


def checked(found: ProbabilityQuality | None) -> ProbabilityQuality:
    if found is None:
        raise SystemExit("the log has no purchases to foresee, or nothing else")
    return found


def show(name: str, runs: list[ProbabilityQuality]) -> None:
    for run in runs:
        figures = "  ".join(
            f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in asdict(run).items()
        )
        print(f"{name:24} {figures}", flush=True)


if __name__ == "__main__":
    main()
