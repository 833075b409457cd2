"""The oracle of runs with signals accepts what has to be told, and complains of each kind of difference."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.faults.load import EVENT, EXPECT
from tests.faults.oracle import Topics, Verdict
from tests.faults.replay import replay
from tests.faults.signals import judge_told
from tests.unit.builders.topic_records import LoggedRecord

STREAM = "nextact/signals/1/shop.events"
NAMESPACE = uuid.uuid5(uuid.UUID(int=0), STREAM)


def event(user: str, offset: int) -> LoggedRecord:
    value = json.dumps(
        {"user_id": user, "type": "view", "item_id": str(offset), "timestamp": 1_700_000_000_000}
    ).encode()
    return LoggedRecord(0, offset, user.encode(), value, ((EXPECT, EVENT.encode()),), 1_700_000_000_000)


def told(user: str, number: int, actions: int, kind: str = "visit_ended", **fields: Any) -> LoggedRecord:
    identity = str(uuid.uuid5(NAMESPACE, f"0/{kind}/{number}/{user}"))
    visit = {"number": number, "actions": actions}
    signal = {"signal_id": identity, "kind": kind, "user_id": user, "visit": visit} | fields
    return LoggedRecord(0, 0, user.encode(), json.dumps(signal).encode())


LOG = [event("u", 0), event("u", 1), event("v", 2), event("u", 3)]
SOUND = [told("u", 1, 2), told("v", 1, 1), told("u", 2, 1), told("u", 2, 1, "cart_abandoned")]


def verdict(signals: list[LoggedRecord]) -> Verdict:
    found = Verdict()
    judge_told(found, replay(LOG, 64), Topics([], [], [], signals=signals), STREAM)
    return found


def test_what_has_to_be_told_is_accepted() -> None:
    found = verdict(SOUND)
    assert (found.examples, found.repeated, found.signals) == ([], 0, 4)


def test_an_end_that_is_told_again_counts_as_it_was_told_last() -> None:
    found = verdict([told("u", 1, 1), *SOUND])
    assert (found.examples, found.repeated, found.signals) == ([], 1, 4)


@pytest.mark.parametrize(
    ("signals", "counter"),
    [
        (SOUND[1:], "lost"),  # the first visit of one
        (SOUND[:2], "wrong_states"),  # the last one's actions are nowhere
        ([*SOUND, told("u", 4, 1)], "lost"),
        ([*SOUND, told("u", 3, 1)], "wrong_states"),  # an action in two visits
        ([*SOUND, told("w", 1, 1)], "wrong_states"),  # nobody's
        ([told("u", 1, 2, signal_id="another"), *SOUND[1:]], "wrong_answers"),
        ([LoggedRecord(0, 0, b"v", SOUND[0].value), *SOUND[1:]], "wrong_answers"),
    ],
)
def test_each_difference_is_counted(signals: list[LoggedRecord], counter: str) -> None:
    found = verdict(signals)
    assert getattr(found, counter) == 1, found.examples
