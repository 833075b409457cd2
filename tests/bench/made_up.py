"""What the benchmarks run on: a log of events, versions of the model that know it, stored users."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model.combiner import Combiner
from model.data import sequences_of
from model.events import Event, actions_of
from model.evidence import evidence_of
from model.fusion import Fusion
from model.record import UserRecords, pack
from model.states import EVENT_ID_WINDOW
from model.vocabulary import Vocabulary
from stream_app.promotions import Promotion
from tests.versions import untrained_version

MOST_ACTIONS = 64  # of a user's ring


def events(count: int, users: int, items: int) -> Iterator[dict[str, Any]]:
    """Uniform users and items: no cache helps anybody. About 120 bytes an event."""
    rng = random.Random(1)
    for number in range(count):
        yield {
            "user_id": f"user-{rng.randrange(users)}",
            "type": rng.choice(("view", "view", "click", "cart")),
            "item_id": f"item-{rng.randrange(items)}",
            "event_id": f"{number:012x}",
            "price": 19.9,
        }


def records(count: int, users: int, items: int) -> list[tuple[bytes, bytes]]:
    """The same as keys and values."""
    made = events(count, users, items)
    return [(event["user_id"].encode(), json.dumps(event, separators=(",", ":")).encode()) for event in made]


def version_of_a_log(path: Path, log: list[tuple[bytes, bytes]], items: int, *, seed: int = 1) -> Promotion:
    """A version of the default size that knows a log, as a trained one does.

    Its evidence is counted from the log, and its combiner listens to all of it. Neither is fitted: what they know does
    not matter to speed, and how many candidates there are does.
    """
    happened = [Event(**json.loads(value)) for _, value in log]

    def fusion(vocabulary: Vocabulary) -> Fusion:
        sequences = sequences_of(actions_of(happened, 1000 * np.arange(len(happened))))
        return Fusion(evidence_of(sequences, vocabulary), Combiner().eval())

    return untrained_version(path, items, name=path.name, seed=seed, fusion=fusion)


def stored_users(
    first: int, count: int, *, hidden: int, actions: float, epoch: int = 1, weights: int = 0
) -> dict[bytes, bytes]:
    """Records of so many users by id: `user-<first>`, … with about so many actions each, at most a full ring.

    Numbers of actions are drawn from a geometric distribution: most users have few. `weights` of the hidden states.
    """
    rng = np.random.default_rng(first)
    counts = np.full(count, actions, np.int64) if actions >= MOST_ACTIONS else rng.geometric(1 / actions, count)
    return dict(
        zip(
            [f"user-{number}".encode() for number in range(first, first + count)],
            pack(records_of(counts, hidden=hidden, epoch=epoch, weights=weights, rng=rng)),
            strict=True,
        )
    )


def records_of(
    counts: np.ndarray, *, hidden: int, epoch: int, weights: int, rng: np.random.Generator, items: int = 10_000
) -> UserRecords:
    """Users who have had so many events (N,), on items that are called item-0, item-1, …"""
    count = len(counts)
    objects = Vocabulary([f"item-{number}" for number in range(items)]).objects
    return UserRecords(
        epoch=epoch,
        offsets=np.arange(count),
        counts=counts,
        last_times=np.full(count, 1_700_000_000_000),
        sessions=rng.integers(0, 2**63, count, dtype=np.uint64),
        weights=np.full(count, weights, np.uint64),
        hidden=rng.uniform(-1, 1, (count, hidden)).astype(np.float16),
        event_ids=rng.integers(1, 2**63, (count, EVENT_ID_WINDOW), dtype=np.uint64),
        objects=objects[rng.integers(0, items, (count, MOST_ACTIONS))],
        contexts=np.full((count, MOST_ACTIONS), 3, np.uint32),
        sizes=np.minimum(counts, MOST_ACTIONS),
    )
