"""What is written about a version for people."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from model.data.disk_log import window_in_memory, window_of_chunks
from model.data.events import NO_TIME
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


def test_users_without_a_known_time_end_no_round(tmp_path: Path) -> None:
    actions = circle(users=80, items=60)
    oldest, newest = int(actions.times.min()), int(actions.times.max())
    for user, known_from in (("1", newest + 1), ("2", newest + 1), ("3", newest // 2)):
        actions.times[(np.array(actions.users) == user) & (actions.times < known_from)] = NO_TIME
    for room in (len(actions), len(actions) // 2):
        with ExitStack() as files:
            window = window_of_chunks([actions], rows=len(actions), room=room, folder=tmp_path, files=files)
            result = train_round(window, None, CONFIG, device=CPU, clock=time.thread_time)
        described = result.report.window
        assert (described.events, described.since, described.until) == (1600, oldest, newest)
        assert "from 1970-01-01 00:00 UTC" in card("v1", result.report, result.verdict.sentence, result.metrics())
