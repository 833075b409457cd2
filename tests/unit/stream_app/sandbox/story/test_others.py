"""The rules beside the stream say what a worker's rules say of the same events."""

from __future__ import annotations

import json
import random

import numpy as np
from prometheus_client import CollectorRegistry

from model.data.events import item_key
from model.serving.state_engine import StateEngine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.sandbox.story.others import LISTED, LiveRules
from stream_app.settings import load_settings
from tests.unit.builders.basics import make_record, make_states
from tests.unit.builders.stories import seen


def test_they_are_the_workers_own() -> None:
    """Those of a worker rank as they step; ranks of the next items are compared, event by event."""
    rng = random.Random(3)
    engine = StateEngine(make_states(length=64), rules_share=1)
    pipeline = Pipeline(engine, load_settings(), WorkerMetrics(CollectorRegistry()), lambda: 0.0)
    rules, said, ranks, worker_ranks = LiveRules(), dict[str, list[int]](), list[int](), list[int]()
    for offset in range(400):
        user, item = rng.choice("uvwx"), f"item {round(rng.expovariate(0.2)) % 40}"
        value = json.dumps({"user_id": user, "type": "view", "item_id": item}).encode()
        stepped = pipeline.step(pipeline.decode([make_record(value, key=user.encode(), offset=offset)], 1)).shares[0]
        worker_ranks += np.asarray(stepped.stepped.rules_ranks).tolist()
        if user in said:
            ranks.append(said[user].index(item_key(item)) + 1 if item_key(item) in said[user] else 0)
        rules.learn(seen(user, item, offset))
        said[user] = list(rules.lists(user).rules)
    assert len(ranks) > 300
    assert ranks == worker_ranks


def test_popularity_lists_what_is_touched_most() -> None:
    rules = LiveRules()
    for offset in range(3000):
        rules.learn(seen(f"u{offset}", f"item {offset % 100 if offset % 2 else offset % 10}", offset))
    popular = rules.lists("somebody").popular
    assert len(popular) == LISTED
    assert {item_key(f"item {number}") for number in (0, 2, 4, 6, 8)} == set(popular[:5])
    assert set(rules.lists("somebody").rules) == set(popular), "of a user who did nothing they know no more"
