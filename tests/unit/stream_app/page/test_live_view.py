"""What the live view says, in words."""

from __future__ import annotations

import asyncio
from datetime import UTC

from stream_app.page.live_view import LiveView, live_view, status_view
from stream_app.page.observer import LastingTrouble, Observer
from stream_app.page.worker_client import Trouble, WorkerClient
from tests.unit.builders.pretend_worker import metrics, pretend_worker

V1, V2 = "20261130T010000.000000Z", "20261130T020000.000000Z"


def seen(*said: str, ready: bool = True, dead: bool = False) -> LiveView:
    """The view after a look at each of several states of a worker's metrics, ten seconds apart."""

    async def look() -> LiveView:
        async with pretend_worker(ready=ready) as worker, WorkerClient(worker.url, None) as client:
            times = iter(range(0, 1000, 10))
            observer = Observer([client], lambda: float(next(times)))
            for text in said:
                worker.metrics = text
                await observer.look()
            if dead:
                await worker.stop()
                await observer.look()
            return live_view(observer, UTC)

    return asyncio.run(look())


def test_numbers_have_names_and_units() -> None:
    view = seen(metrics(events=0), metrics(events=2000, lag=3))
    assert [(one.name, one.value, one.unit) for one in view.figures] == [
        ("Events", "200", "per second"),
        ("Predictions", "200", "per second"),
        ("Latency, median", "25", "ms"),
        ("Latency, 99th percentile", "50", "ms"),
        ("Lag", "3", "events"),
        ("Shoppers", "17", "in memory"),
    ]


def test_before_the_first_version_it_says_so() -> None:
    view = seen(metrics(), metrics(events=9, rules=(60, 100)))
    assert (view.hits.model, view.hits.rules) == ("— %", "60.0 %")
    assert view.hits.ahead == "No version serves yet: rules answer until the trainer has made the first one."
    assert view.version == "the rules"


def test_model_and_rules_are_compared() -> None:
    first = metrics(version=V1, created=1)
    ahead = seen(first, metrics(events=9, rules=(60, 100), model=(80, 100), version=V1, created=1))
    assert ahead.hits.ahead == "The model is 20.0 points ahead of the rules."
    behind = seen(first, metrics(events=9, rules=(60, 100), model=(55, 100), version=V1, created=1))
    assert behind.hits.ahead == "The model is 5.0 points behind the rules."
    level = seen(first, metrics(events=9, rules=(60, 100), model=(60, 100), version=V1, created=1))
    assert level.hits.ahead == "Model and rules are level."
    few = seen(first, metrics(events=9, rules=(6, 10), model=(8, 10), version=V1, created=1))
    assert few.hits.ahead == "Too few next items were scored in the last minute to compare."


def test_versions_are_listed_newest_first() -> None:
    view = seen(*(metrics(version=v, created=t) for v, t in (("baseline", 0), (V1, 1), (V2, 2), (V1, 1))))
    assert [(one.at, one.kind, one.version) for one in view.moments] == [
        ("00:00:30", "rolled back", V1),
        ("00:00:20", "promoted", V2),
        ("00:00:10", "promoted", V1),
    ]


def test_each_worker_has_a_state() -> None:
    assert [(one.name, one.state, one.partitions, one.users) for one in seen(metrics()).workers] == [
        ("nextact-1", "ready", "3", "17")
    ]
    assert seen(metrics(), ready=False).workers[0].state == "starting"
    assert seen("python_info 1\n").workers[0].state == "no metrics"
    gone = seen(metrics(), dead=True)
    assert (gone.workers[0].state, gone.workers[0].well) == ("does not answer", False)
    assert gone.hits.ahead == "No worker's metrics can be read at the moment."


def test_troubles_are_said_with_their_time() -> None:
    assert status_view([]).well
    view = status_view([LastingTrouble(Trouble("It burns", "Put it out."), 61.0)], UTC)
    assert not view.well
    assert [(one.what, one.since, one.advice) for one in view.troubles] == [
        ("It burns", "since 00:01:01", "Put it out.")
    ]
