"""Whether reasons are faithful, by exact removal: `python -m tests.bench reasons`.

Of users with 8 or more distinct items, whose last answer has reasons for its first three items, what is named (at most
three items of the user) is cut out of the sequence, the state encoded anew, everything ranked again: how much lower is
the item's log-probability, in the mean, and how often is it still among the best 20 if the user had done nothing else.
Beside it as many of the user's items: at random, the most recent ones, and those without which exact removal one at a
time loses most. Random items under the right codes are the control: they must fail. 90 % intervals: draws of users.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from msgspec.structs import replace as replace_struct
from numpy.typing import NDArray

from model.data.disk_log import window_in_memory
from model.data.events import Actions
from model.data.sequences import Sequences
from model.profile.why.explain import NO_REASON, Reasons, explain, explain_weights
from model.profile.why.reasons import CODES
from model.profile_fit.fit_reasons import fit_reasons
from model.profile_fit.removal import Past, past_of
from model.rounds.fit_model import Model
from model.rounds.training_round import RoundConfig, train_round
from model.training.fit_run import FitRun
from stream_app.contract.predictions import Because
from stream_app.contract.profiles.reason_words import reason_text
from stream_app.offline.text_table import table
from tests.bench.data_sets import chosen, known_actions, split_of
from tests.bench.exact_removal import CPU, ExactRemoval, in_list

SETS: Final = ("jdata-65", "yoochoose")
USERS: Final = 500
LEAST_ITEMS: Final = 8  # distinct ones among a user's last RECENT actions
RECENT: Final = 32
EXPLAINED: Final = 3  # items of an answer
SHOWN: Final = 20  # reasons that are printed
AT_RANDOM: Final = 3.0  # what removal of what is named has to reach, as a multiple of random items
OVER_RECENT: Final = 1.2  # … and of the most recent ones, or …
OF_EXACT: Final = 0.8  # … this share of what exact removal one at a time reaches
COLUMNS: Final = ("mean drop", "over random", "over recent", "kept in the best 20", "faithful")
Choice = list[NDArray[np.uint64]]  # the keys of the user's items that are named, for each user and explained item


@dataclass(frozen=True, slots=True)
class Cases:
    """Users with their answers."""

    pasts: list[Past]
    own: list[NDArray[np.uint64]]  # keys of each user's distinct items, latest first
    items: NDArray[np.int64]  # (N, k) rows of the explained items
    before: NDArray[np.float64]  # (N, k) their log-probabilities
    reasons: Reasons


@dataclass(frozen=True, slots=True)
class Measured:
    """What removal of some items does to each explained one, and what is left of it with these alone."""

    drops: NDArray[np.float64]  # (N, k)
    kept: NDArray[np.bool_]  # (N, k)


def reasons(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a table and reasons in words for each data set; returns the figures."""
    torch.set_num_threads(options.threads)
    found: dict[str, Any] = {}
    with chosen(options, SETS) as sources:
        for name, source in sources.items():
            print(f"training on {name}", file=sys.stderr, flush=True)
            model, sequences = trained(known_actions(source), options.seed), split_of(source).holdout.sequences
            oracle = ExactRemoval(model, sequences.queries)
            cases = cases_of(oracle, users_of(sequences, options.seed))
            found[name] = figures(oracle, cases, np.random.default_rng(options.seed))
            print(f"\n{name}: {len(cases.pasts)} users, {EXPLAINED} items each")
            print("\n".join(table(COLUMNS, {row: list(each) for row, each in found[name]["rows"].items()})))
            print(f"named per item {found[name]['named']:.2f}; codes {found[name]['codes']}")
            found[name]["microseconds"] = cost(oracle, cases)
            print(f"microseconds of processor time an answer: {found[name]['microseconds']}")
            print("\n".join(in_words(oracle, cases, SHOWN)), flush=True)
    return found


def trained(actions: Actions, seed: int) -> Model:
    """The first version of a trainer with its defaults; one that it does not promote is fitted reasons all the same."""
    window = window_in_memory(actions)
    model = train_round(window, None, RoundConfig(seed=seed), device=CPU, clock=time.thread_time).model
    if model.profile.reasons is None:
        parts = model.network, model.vocabulary, model.fusion, window.log
        model = replace(model, profile=replace_struct(model.profile, reasons=fit_reasons(*parts, FitRun(CPU, seed))))
    return model


def users_of(sequences: Sequences, seed: int) -> list[Past]:
    """The pasts of USERS users, drawn from those who have enough distinct items among their last actions."""
    pasts = [past_of(sequences, user) for user in range(len(sequences.offsets) - 1)]
    able = [past for past in pasts if len(np.unique(past.item_keys[-RECENT:])) >= LEAST_ITEMS]
    drawn = np.random.default_rng(seed).permutation(len(able))[:USERS]
    return [able[index] for index in drawn.tolist()]


def cases_of(oracle: ExactRemoval, pasts: list[Past]) -> Cases:
    """The first items of each user's last answer, with the reasons that a worker gives."""
    assert oracle.model.profile.reasons is not None
    sources = oracle.sources(pasts)
    numbers, _ = oracle.ranking.rank_from(sources, EXPLAINED)
    told = explain(sources, numbers, oracle.ranking.weights, explain_weights(oracle.model.profile.reasons))
    items = oracle.live.arrays.rows[numbers].astype(np.int64)
    before, _ = oracle.log_probabilities(pasts, items)
    return Cases(pasts, [own_items(past) for past in pasts], items, before, told)


def own_items(past: Past) -> NDArray[np.uint64]:
    """The keys of the distinct items among a user's last actions, latest first."""
    latest = past.item_keys[-RECENT:][::-1]
    return latest[np.sort(np.unique(latest, return_index=True)[1])]


def measured(oracle: ExactRemoval, cases: Cases, choice: list[Choice]) -> Measured:
    """Cuts what is named for each item out of the sequences, and everything else."""
    asked = [
        (n, j, np.isin(cases.pasts[n].item_keys, keys)) for n, of in enumerate(choice) for j, keys in enumerate(of)
    ]
    items = np.array([[cases.items[n, j]] for n, j, _ in asked])
    without, _ = oracle.log_probabilities([cases.pasts[n].without(gone) for n, _, gone in asked], items)
    _, ranks = oracle.log_probabilities([cases.pasts[n].without(~gone) for n, _, gone in asked], items)
    return Measured(cases.before - without.reshape(cases.before.shape), in_list(ranks).reshape(cases.before.shape))


def one_at_a_time(oracle: ExactRemoval, cases: Cases) -> list[list[NDArray[np.uint64]]]:
    """The user's items for each explained one, by what exact removal of each alone loses, most first."""
    pairs = [(n, key) for n, own in enumerate(cases.own) for key in own]
    pasts = [cases.pasts[n].without(cases.pasts[n].item_keys == key) for n, key in pairs]
    owners = np.array([n for n, _ in pairs])
    without, _ = oracle.log_probabilities(pasts, cases.items[owners])
    drops = cases.before[owners] - without
    ends = np.cumsum([len(own) for own in cases.own])[:-1]
    return [
        [own[np.argsort(-of[:, j], kind="stable")] for j in range(EXPLAINED)]
        for own, of in zip(cases.own, np.split(drops, ends), strict=True)
    ]


def figures(oracle: ExactRemoval, cases: Cases, randomness: np.random.Generator) -> dict[str, Any]:
    """The rows of the table, and how much is named."""
    keys = oracle.live.item_keys
    named: list[Choice] = [[keys[numbers[numbers >= 0]] for numbers in of_answer] for of_answer in cases.reasons.items]
    exact = one_at_a_time(oracle, cases)

    def as_many(pick: Callable[[int, int, int], NDArray[np.uint64]]) -> Measured:
        choice = [[pick(n, j, len(of)) for j, of in enumerate(choice)] for n, choice in enumerate(named)]
        return measured(oracle, cases, choice)

    def at_random(n: int, _: int, count: int) -> NDArray[np.uint64]:
        return randomness.permutation(cases.own[n])[:count]

    by = {
        "reasons": measured(oracle, cases, named),
        "right codes, items at random": as_many(at_random),
        "most recent": as_many(lambda n, _, count: cases.own[n][:count]),
        "exact, one at a time": as_many(lambda n, j, count: exact[n][j][:count]),
        "random": as_many(at_random),
    }
    random, recent = by["random"], by["most recent"]
    best = by["exact, one at a time"].drops.mean() / recent.drops.mean()
    rows: dict[str, tuple[str, ...]] = {}
    for name, each in by.items():
        ratios = [interval(each.drops, other.drops, randomness) for other in (random, recent)]
        faithful = (
            ratios[0][0] >= AT_RANDOM
            and ratios[1][0] >= min(OVER_RECENT, OF_EXACT * best)
            and each.kept.mean() > random.kept.mean() + 0.1
        )
        shown = [f"{ratio:.2f} ({low:.2f} to {high:.2f})" for ratio, low, high in ratios]
        rows[name] = (f"{each.drops.mean():.3f}", *shown, f"{each.kept.mean():.1%}", "yes" if faithful else "no")
    codes = {code: int((cases.reasons.codes == number).sum()) for number, code in enumerate(CODES)}
    count = float((cases.reasons.items >= 0).sum(2).mean())
    return {"rows": rows, "named": count, "codes": codes}


def interval(
    drops: NDArray[np.float64], others: NDArray[np.float64], randomness: np.random.Generator
) -> tuple[float, float, float]:
    """The ratio of two means and its 90 % interval over draws of the users."""
    ours, theirs = drops.mean(1), others.mean(1)
    drawn = randomness.integers(0, len(ours), (1000, len(ours)))
    low, high = np.quantile(ours[drawn].mean(1) / theirs[drawn].mean(1), (0.05, 0.95))
    return float(ours.mean() / theirs.mean()), float(low), float(high)


def cost(oracle: ExactRemoval, cases: Cases) -> dict[str, float]:
    """Microseconds of processor time an answer: ranking alone, and what explaining adds, in turn, batches of 16."""
    assert oracle.model.profile.reasons is not None
    weights = explain_weights(oracle.model.profile.reasons)
    batches = [oracle.sources(cases.pasts[begin : begin + 16]) for begin in range(0, len(cases.pasts) - 15, 16)]
    ranked, explained = list[float](), list[float]()
    for _ in range(20):
        spent = [0.0, 0.0]
        for sources in batches:
            begun = time.thread_time()
            items, _ = oracle.ranking.rank_from(sources, 20)
            between = time.thread_time()
            explain(sources, np.ascontiguousarray(items[:, :EXPLAINED]), oracle.ranking.weights, weights)
            spent = [spent[0] + between - begun, spent[1] + time.thread_time() - between]
        ranked.append(spent[0])
        explained.append(spent[1])
    microseconds = 1e6 / (16 * len(batches))
    return {
        "ranking": round(microseconds * median(ranked), 1),
        "reasons": round(microseconds * median(explained), 1),
    }


def in_words(oracle: ExactRemoval, cases: Cases, count: int) -> list[str]:
    """The first reasons as a person would read them."""
    lines, names, numbers = list[str](), oracle.live.names, oracle.live.arrays.numbers
    for n in range(count):
        latest = [names[index] for index in oracle.model.vocabulary.table.find(cases.own[n][:5]) if index >= 0]
        said = []
        for code, weight, item in zip(*(column[n, 0].tolist() for column in cases.reasons), strict=True):
            if code != NO_REASON:
                because = Because(CODES[code], weight, item_id=names[item] if item >= 0 else None)
                said.append(f"{weight:.0%} {reason_text(because)}")
        lines.append(f"  latest {', '.join(latest)}: show {names[numbers[cases.items[n, 0]]]}, as {'; '.join(said)}")
    return lines
