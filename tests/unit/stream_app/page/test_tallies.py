"""Figures, hit rates over time, and changes of version, from the scrapes of several workers."""

from __future__ import annotations

import pytest

from stream_app.page.scrape import Scrape, read_metrics
from stream_app.page.tallies import Figures, Tallies
from tests.unit.builders.pretend_worker import metrics

V1, V2 = "20261130T010000.000000Z", "20261130T020000.000000Z"


def scrape(at: float, **said: object) -> Scrape:
    return read_metrics(metrics(**said), at)  # type: ignore[arg-type]


def test_without_scrapes_nothing_is_known() -> None:
    assert Tallies().figures() == Figures()


def test_rates_are_added_over_workers_and_taken_over_the_last_seconds() -> None:
    tallies = Tallies()
    for second in range(20):
        busy = 100 * second if second < 10 else 1000 + 200 * (second - 10)
        tallies.add("a", scrape(float(second), events=busy, lag=2))
        tallies.add("b", scrape(second + 0.5, events=50 * second, lag=3))
    now = tallies.figures()
    assert (now.events, now.predictions) == (250.0, 250.0)
    assert (now.lag, now.users) == (5, 34)
    assert now.p50 == pytest.approx(0.025)
    assert now.p99 == pytest.approx(0.025 + 0.025 * 0.98)


def test_a_worker_that_is_lost_is_no_figure_of_now() -> None:
    tallies = Tallies()
    for worker in "ab":
        tallies.add(worker, scrape(1.0, events=0))
        tallies.add(worker, scrape(2.0, events=10))
    tallies.lose("b")
    assert tallies.figures().events == 10.0
    tallies.lose("a")
    assert tallies.figures() == Figures()


def test_hit_rates_are_those_of_the_last_minute() -> None:
    tallies = Tallies()
    for second in range(0, 200, 5):
        hits = 6 * second if second <= 100 else 600 + 8 * (second - 100)
        tallies.add(
            "a", scrape(float(second), events=second, rules=(5 * second, 10 * second), model=(hits, 10 * second))
        )
    points = tallies.points
    assert [points[0].at, points[1].at] == [5.0, 10.0]
    assert [points[5].model, points[5].rules] == [0.6, 0.5]
    assert points[-1].model == pytest.approx(0.8)


def test_too_few_scored_items_make_no_hit_rate() -> None:
    tallies = Tallies()
    for second in range(0, 100, 5):
        tallies.add("a", scrape(float(second), events=second, rules=(0, second // 5), model=(second, 20 * second)))
    assert {point.rules for point in tallies.points} == {None}
    assert tallies.points[-1].model == 0.05


def test_promotion_and_rollback_are_marked_once_for_all_workers() -> None:
    tallies = Tallies()
    served = [("baseline", 0.0), (V1, 100.0), (V2, 200.0), (V1, 100.0), (V1, 100.0)]
    for second, (version, created) in enumerate(served):
        for worker in "ab":
            tallies.add(worker, scrape(10.0 * second, version=version, created=created))
    assert [(m.at, m.kind, m.version) for m in tallies.moments] == [
        (10.0, "promoted", V1),
        (20.0, "promoted", V2),
        (30.0, "rolled back", V1),
    ]


def test_what_served_at_first_is_no_promotion_and_a_restart_is_none() -> None:
    tallies = Tallies()
    tallies.add("a", scrape(0.0, events=9, version=V1, created=100.0))
    tallies.add("a", scrape(1.0, events=10, version=V1, created=100.0))
    tallies.lose("a")
    tallies.add("a", scrape(2.0, events=0, version="baseline"))
    tallies.add("a", scrape(3.0, events=1, version=V1, created=100.0))
    assert tallies.moments == []
