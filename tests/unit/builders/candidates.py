"""Logs of shoppers at random, what is asked after some of their actions, and a network of random vectors."""

from __future__ import annotations

import random

import numpy as np

from model.data.contexts import CONTEXT_ROWS, types_of
from model.data.events import SEARCH, Event, actions_of
from model.data.queries import read_queries
from model.data.query_table import QueryTable
from model.data.recent import RecentActions
from model.data.sequences import Sequences, sequences_of
from model.data.vocabulary import ITEM_BUCKETS, Vocabulary
from model.fusion.candidate_features import NetworkBest
from model.fusion.combiner import Combiner, identity_combiner
from model.fusion.fusion import FusionRanking
from model.fusion.live_items import LiveItems
from model.kernels.compiled import Floats
from model.statistics.log_statistics import counter_of

CATALOGUE = [f"item {n}" for n in range(300)]
WIDTH = 16


def random_log(seed: int) -> Sequences:
    """Shoppers with all types of actions, searches, sessions, categories and brands for most items."""
    rng = random.Random(seed)
    events = []
    for user in range(60):
        at = rng.randrange(10**6)
        for _ in range(rng.randrange(1, 50)):
            at += rng.choice((1_000, 60_000, 3_600_000))
            item = min(rng.randrange(len(CATALOGUE)), rng.randrange(len(CATALOGUE)))
            kind = rng.choice(("view", "view", "search", "purchase", "cart"))
            events.append(
                Event(
                    user_id=str(user),
                    type=kind,
                    item_id=CATALOGUE[item],
                    query="red shoes",
                    timestamp=at,
                    category=f"category {item % 7}" if item % 5 else None,
                    brand=f"brand {item % 11}" if item % 3 else None,
                )
            )
    return sequences_of(actions_of(events, [int(event.timestamp or 0) for event in events]))


def with_a_new_search(recent: RecentActions) -> RecentActions:
    """All searches become one that nobody in `random_log` has made, with words that are known and one that is not."""
    keys, queries = read_queries(["shoes in red"])
    item_keys = np.where(types_of(recent.contexts) == SEARCH, keys[0], recent.item_keys)
    return recent._replace(item_keys=item_keys).with_words(QueryTable(queries))


def shoppers(users: list[list[str]]) -> Sequences:
    events = [Event(user_id=str(user), type="view", item_id=item) for user, items in enumerate(users) for item in items]
    return sequences_of(actions_of(events, range(0, 1000 * len(events), 1000)))


def ranking_of(log: Sequences, vocabulary: Vocabulary, *, seed: int, combiner: Combiner | None = None) -> FusionRanking:
    """Ranks by the statistics of a log and a network of random vectors."""
    table, rng = counter_of(log).table, np.random.default_rng(seed + 1000)
    attributes = rng.normal(size=(CONTEXT_ROWS, WIDTH)).astype(np.float32)
    live = LiveItems(vocabulary, vectors_of(vocabulary, seed), attributes, table, nameless=True)
    live.follow()
    return FusionRanking(live, combiner or identity_combiner())


def vectors_of(vocabulary: Vocabulary, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=(len(vocabulary), WIDTH)).astype(np.float32)


def asked_after(
    log: Sequences, vocabulary: Vocabulary, indices: range | list[int], *, seed: int, best: int = 20
) -> tuple[RecentActions, NetworkBest]:
    """What is asked after some actions, and what a network of random vectors says, those of `vectors_of`."""
    rng, vectors = np.random.default_rng(seed + 1), vectors_of(vocabulary, seed)
    queries = rng.normal(size=(len(indices), WIDTH)).astype(np.float32)
    logits = queries @ vectors.T
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    top = np.ascontiguousarray(np.argsort(-logits, axis=1)[:, :best])  # as they come: loops compile once for all
    rows = vocabulary.rows_of(log.item_keys) - ITEM_BUCKETS
    items = np.where(types_of(log.contexts) == SEARCH, -1, np.maximum(rows, -1)).astype(np.int32)
    starts = log.offsets[np.searchsorted(log.offsets, list(indices), side="right") - 1]
    stops = np.array(list(indices), np.int64) + 1
    return (
        RecentActions(items, log.contexts, starts, stops, log.item_keys),
        NetworkBest(top, np.take_along_axis(log_p, top, 1).astype(np.float32), queries),
    )
