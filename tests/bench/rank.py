"""What it takes a core to score given items for a user who is asked about: `python -m tests.bench rank`.

From the user's record to the answer's JSON, as a worker's device thread does it: the state is read, stepped and
scored with all that recommendations are scored with, by a version of the default size and its own statistics. Each
question is of another user and of other items. Processor time of the thread, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, Final

import msgspec
import numpy as np
import torch
from prometheus_client import CollectorRegistry

from stream_app.contract.questions.answers import RankAnswer
from stream_app.pipeline.asking import AskingPipeline
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.query.ranking import keys_of, ranked_items
from stream_app.settings import load_settings
from tests.bench.made_up import named, served_version, sessions, stored_users

CANDIDATES: Final = (1, 100, 1000)  # of a question
QUESTIONS: Final = 400  # of each size; the first twentieth does not count
WANTED_MS: Final = 15.0  # p99 of 100 candidates


def rank(options: argparse.Namespace) -> dict[str, Any]:
    """Prints medians and 99th percentiles in milliseconds, and returns them."""
    settings, vocabulary = load_settings({"rules_share": 0}), named(options.items)
    users = {key.decode(): value for key, value in stored_users(QUESTIONS, hidden=settings.hidden, actions=30)}
    engine = new_engine(settings, torch.device("cpu"), lambda _, asked: {user: users[user] for user in asked})
    engine.serve(served_version(sessions(vocabulary, 500_000), vocabulary, torch.device("cpu")))
    pipeline = AskingPipeline(engine, settings, WorkerMetrics(CollectorRegistry()), time.perf_counter)
    rng, found = np.random.default_rng(1), {}
    print(f"{'candidates':>10} {'median':>8} {'p99':>8}  ms of a core")
    for count in CANDIDATES:
        times = []
        for user in users:
            items = [f"item-{number}" for number in rng.choice(options.items, count, replace=False).tolist()]
            start = time.thread_time()
            scores = pipeline.scored([0], [user], [keys_of(items)])
            msgspec.json.encode(RankAnswer(user, ranked_items(items, scores[0]), 0, "state"))
            engine.clear()
            times.append(1000 * (time.thread_time() - start))
        middle, last = np.quantile(times[QUESTIONS // 20 :], (0.5, 0.99)).tolist()
        print(f"{count:10} {middle:8.2f} {last:8.2f}", flush=True)
        found[str(count)] = {"median_ms": round(middle, 3), "p99_ms": round(last, 3)}
    verdict = "reached" if found["100"]["p99_ms"] <= WANTED_MS else "MISSED"
    print(f"{WANTED_MS} ms at most for 100 candidates, p99: {verdict}")
    return found
