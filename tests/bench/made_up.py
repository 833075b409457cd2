"""What the benchmarks run on: a log of events, versions of the model that know it, stored users."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.contexts import CATEGORY_SHIFT
from model.data.disk_log import FrequentNames, window_in_memory
from model.data.events import TYPE_CODES, Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.data.vocabulary import Vocabulary
from model.fusion.combiner import Combiner
from model.fusion.fusion import Fusion
from model.network.calibration import Calibration
from model.network.network import Network, NetworkConfig
from model.profile.profile import NO_PROFILE, Profile
from model.profile_fit.fit_profile import FittedModel, fit_profile
from model.rounds.initial_network import cold_start
from model.serving.serving import Serving, serve
from model.state.user_record import UserRecords, pack
from model.state.user_states import EVENT_ID_WINDOW
from model.statistics.log_statistics import counter_of
from model.training.fit_run import FitRun
from model.versions.version import Version
from stream_app.versions.promotions import Promotion
from tests.versions import untrained_version

MOST_ACTIONS = 64  # of a user's ring
PER_SESSION = 12  # actions of a made-up session
LAST_TIME = 1_700_000_000_000  # of stored users, ms
_PACKED = 10_000  # users at once
_FITTED = 20_000  # events that a profile is fitted to
STRIDE = 40  # items that go together: the next one is within so many of the last


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


def described(log: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The same events with a category and a brand, as profiles count them."""
    return [(key, json.dumps(with_category(json.loads(value)), separators=(",", ":")).encode()) for key, value in log]


def with_category(event: dict[str, Any]) -> dict[str, Any]:
    """Returns an event with the category and the brand of its item."""
    number = int(event["item_id"].removeprefix("item-"))
    return event | {"category": f"category-{number // STRIDE % 200}", "brand": f"brand-{number % 50}"}


def sessions(vocabulary: Vocabulary, events: int) -> Sequences:
    """Users who begin at a popular item and go on nearby; every item has a category and a brand."""
    rng = np.random.default_rng(1)
    users, size = events // PER_SESSION, len(vocabulary)
    first = (size * rng.random((users, 1)) ** 3).astype(np.int64)
    items = ((first + np.cumsum(rng.integers(0, STRIDE, (users, PER_SESSION)), 1)) % size).reshape(-1)
    buckets = np.uint32(1) + (items // STRIDE % 200).astype(np.uint32)
    contexts = np.uint32(TYPE_CODES["view"]) + (buckets << np.uint32(CATEGORY_SHIFT))
    times = np.sort(rng.integers(0, 10**10, (users, PER_SESSION)), 1).reshape(-1)
    alone = np.zeros(len(items), np.bool_)  # each action is an event of its own
    return Sequences(vocabulary.item_keys[items], contexts, times, alone, np.arange(users + 1) * PER_SESSION)


def version_of_a_log(path: Path, log: list[tuple[bytes, bytes]], items: int, *, seed: int = 1) -> Promotion:
    """A saved version of the default size that knows a log, as a trained one does; see `fusion_of`."""
    happened = [Event(**json.loads(value)) for _, value in log]
    sequences = sequences_of(actions_of(happened, 1000 * np.arange(len(happened))))
    return untrained_version(path, items, seed=seed, fusion=lambda known: fusion_of(sequences, known))


def profiled_version(path: Path, log: list[tuple[bytes, bytes]], items: int) -> Promotion:
    """A version of a log with a profile that was fitted to the newest of it; see `version_of_a_log`."""
    happened = [Event(**json.loads(value)) for _, value in log[-_FITTED:]]
    actions = actions_of(happened, 60_000 * np.arange(len(happened)))
    window = window_in_memory(actions)
    names = FrequentNames(
        sorted({event.category for event in happened if event.category}),
        sorted({event.brand for event in happened if event.brand}),
    )

    def profile(network: Network, fusion: Fusion) -> Profile:
        model = FittedModel(network, named(items), fusion, window.log, window.prices, names, NO_PROFILE)
        return fit_profile(model, FitRun(torch.device("cpu"), 1))

    return untrained_version(path, items, fusion=lambda known: fusion_of(sequences_of(actions), known), profile=profile)


def served_version(sequences: Sequences, vocabulary: Vocabulary, device: torch.device) -> Serving:
    """A version of the default size that knows a log, on a device; see `fusion_of`."""
    version = Version(
        name="bench",
        created="2026-01-01T00:00:00Z",
        manifest_sha256="",
        network=cold_start(NetworkConfig(items=len(vocabulary)), seed=1),
        vocabulary=vocabulary,
        calibration=Calibration(),
        fusion=fusion_of(sequences, vocabulary),
        metrics={},
        facts={},
    )
    return serve(version, device)


def fusion_of(sequences: Sequences, vocabulary: Vocabulary) -> Fusion:
    """Evidence counted from a log, and a combiner that looks at all of it. It is not fitted: what it knows does not
    matter to speed, and how many candidates there are does."""
    return Fusion(counter_of(sequences).table, Combiner().eval())


def named(items: int) -> Vocabulary:
    """item-0, item-1, …"""
    return Vocabulary([f"item-{number}" for number in range(items)])


def users_of(
    counts: NDArray[np.int64], *, hidden: int, weights_id: int = 0, items: int = 10_000, seed: int = 1
) -> UserRecords:
    """Users who have had so many events (N,), with the newest in their rings; `weights_id` of the hidden states."""
    rng, count, item_keys = np.random.default_rng(seed), len(counts), _objects(items)
    return UserRecords(
        epoch=1,
        offsets=np.arange(count),
        counts=counts,
        last_times=np.full(count, LAST_TIME),
        sessions=rng.integers(0, 2**63, count, dtype=np.uint64),
        weights_id=np.full(count, weights_id, np.uint64),
        hidden=rng.uniform(-1, 1, (count, hidden)).astype(np.float16),
        event_ids=rng.integers(1, 2**63, (count, EVENT_ID_WINDOW), dtype=np.uint64),
        item_keys=item_keys[rng.integers(0, items, (count, MOST_ACTIONS))],
        contexts=np.full((count, MOST_ACTIONS), TYPE_CODES["view"], np.uint32),
        sizes=np.minimum(counts, MOST_ACTIONS),
    )


@cache
def _objects(items: int) -> NDArray[np.uint64]:
    return named(items).item_keys


def stored_users(users: int, *, hidden: int, actions: float) -> Iterator[tuple[bytes, bytes]]:
    """Ids and records of user-0, user-1, … with about so many actions each, at most a full ring.

    Numbers of actions are drawn from a geometric distribution, as most users have few; from a full ring on all have it.
    """
    rng = np.random.default_rng(1)
    for first in range(0, users, _PACKED):
        size = min(_PACKED, users - first)
        counts = np.full(size, MOST_ACTIONS) if actions >= MOST_ACTIONS else rng.geometric(1 / actions, size)
        names = (f"user-{number}".encode() for number in range(first, first + size))
        yield from zip(names, pack(users_of(counts, hidden=hidden, seed=first)), strict=True)
