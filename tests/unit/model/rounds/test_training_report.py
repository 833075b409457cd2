"""What is written about a version for people."""

from __future__ import annotations

import time

import pytest

from model.data.disk_log import window_in_memory
from model.rounds.training_report import LossCurve, card
from model.rounds.training_round import train_round
from model.training.fit_run import Progress
from tests.unit.builders.basics import CPU
from tests.unit.builders.rounds import CONFIG, circle


def test_a_curve_keeps_the_mean_of_all_steps() -> None:
    curve = LossCurve()
    for step in range(1, 1001):
        curve.add("fitting", Progress(step, 1000, {"item": float(step)}))
    curve.add("weighing", Progress(1, 1, {"combiner": 7.0}))
    assert len(curve.points) == 101
    assert [point.step for point in curve.points[:2]] == [10, 20]
    assert curve.points[0].losses == {"item": 5.5}
    assert curve.points[-1].losses == {"combiner": 7.0}


def test_the_report_of_a_round_adds_up_and_the_card_says_it() -> None:
    result = train_round(window_in_memory(circle(items=60)), None, CONFIG, device=CPU, clock=time.thread_time)
    report, window = result.report, result.report.window
    assert (window.events, window.users, window.items) == (800, 40, 59)
    assert window.since < window.held_out_from < window.until
    for kind in {part.kind for part in report.parts}:
        parts = [part for part in report.parts if part.kind == kind]
        assert sum(part.targets for part in parts) == result.challenger.targets
        hits = sum(part.recall * part.targets for part in parts)
        assert hits / result.challenger.targets == pytest.approx(result.challenger.served.recall[20])
    assert report.curve[0].stage == "fitting"
    text = card("v1", report, result.verdict.sentence, result.metrics())
    assert text.startswith("# v1\n")
    for word in (
        result.verdict.sentence,
        "800 events of 40 users on 59 items",
        "Intended use",
        "| item: seen in training |",
    ):
        assert word in text
