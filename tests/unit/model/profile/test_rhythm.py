"""Rhythms beside a plain count over each user's actions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from model.data.events import Event, actions_of
from model.data.sequences import Sequences, sequences_of
from model.profile.rhythm import RHYTHM, RhythmActions, follow_events, rhythms_at

BEGIN = 1_600_000_000
GAPS = (0, 1, 60, 1_800, 1_801, 7_200, 90_000)  # seconds, on both sides of the half hour that ends a visit


def log(users: int, actions: int, seed: int = 1) -> Sequences:
    rng, events, times, now = np.random.default_rng(seed), [], [], [BEGIN] * users
    for _ in range(actions):
        user = int(rng.integers(users))
        now[user] += int(rng.choice(GAPS))
        events.append(Event(user_id=str(user), type=str(rng.choice(["view", "purchase", "cart"])), item_id="i"))
        times.append(1000 * now[user] + int(rng.integers(1000) if now[user] == BEGIN else 0))
    return sequences_of(actions_of(events, times))


def plain(seconds: list[int], purchases: list[bool]) -> dict[str, int]:
    """What is known of a user after such actions."""
    gaps = [after - before for before, after in pairwise(seconds)]
    begins = [0, *(n + 1 for n, gap in enumerate(gaps) if gap > 1_800)]
    silences = [0, 0, *(gap for gap in gaps if gap > 1_800)]
    return {
        "first": seconds[0],
        "began": seconds[begins[-1]],
        "last": seconds[-1],
        "actions": len(seconds),
        "visits": len(begins),
        "of_visit": len(seconds) - begins[-1],
        "gap": silences[-1],
        "gap_before": silences[-2],
        "purchases": sum(purchases),
    }


def test_rhythms_count_visits_and_gaps() -> None:
    sequences = log(users=7, actions=400)
    positions = np.flatnonzero(np.random.default_rng(2).random(len(sequences)) < 0.6)
    found = rhythms_at(sequences, positions)
    for row, position, user in zip(found, positions, sequences.users_at(positions), strict=True):
        inside = slice(sequences.offsets[user], position + 1)
        expected = plain((sequences.times[inside] // 1000).tolist(), (sequences.types[inside] == 2).tolist())
        assert {name: row[name] for name in expected} == expected


def test_actions_one_by_one_give_what_sequences_give() -> None:
    sequences = log(users=5, actions=200)
    users = np.zeros(5, RHYTHM)
    rows = sequences.users_at(np.arange(len(sequences)))
    for part in np.array_split(np.arange(len(rows)), 7):
        actions = RhythmActions(sequences.types[part], sequences.times[part])
        after = follow_events(users, rows[part], actions, np.ones(len(part), np.bool_), np.zeros(len(part), np.uint16))
        expected = rhythms_at(sequences, part)
        np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize("time", [-5_000, np.iinfo(np.int64).min])
def test_unknown_times_end_no_visit(time: int) -> None:
    users = np.zeros(1, RHYTHM)
    times = np.array([time, 1000 * BEGIN, time, 1000 * (BEGIN + 60)])
    actions = RhythmActions(np.zeros(4, np.uint8), times)
    after = follow_events(users, np.zeros(4, np.int64), actions, np.ones(4, np.bool_), np.zeros(4, np.uint16))
    assert after["visits"].tolist() == [1, 1, 1, 1]
    assert after["last"].tolist() == [0, BEGIN, BEGIN, BEGIN + 60]


def test_an_event_of_several_actions_is_one_row_and_repeats_change_nothing() -> None:
    users, minute = np.zeros(1, RHYTHM), 60_000
    times = 1000 * BEGIN + minute * np.arange(5)
    actions = RhythmActions(np.array([0, 2, 2, 0, 0], np.uint8), times)
    applied, lines = np.array([True, True, True, False, True]), np.array([0, 0, 1, 0, 0], np.uint16)
    after = follow_events(users, np.zeros(5, np.int64), actions, applied, lines)
    assert after["actions"].tolist() == [1, 3, 3, 4]
    assert after["purchases"].tolist() == [0, 2, 2, 2]
    assert after["last"].tolist() == [BEGIN, BEGIN + 120, BEGIN + 120, BEGIN + 240]
