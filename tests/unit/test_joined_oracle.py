"""The oracle of runs with anonymous users accepts what the pipeline makes, and complains of each kind of difference."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

import pytest

from tests.faults.joined import LENGTH, judge_joined
from tests.faults.load import EVENT, EXPECT, IDENTITY, Labelled, Mix, identity, records
from tests.faults.oracle import Topics, Verdict
from tests.faults.replay import replay
from tests.unit.builders.basics import make_record
from tests.unit.builders.joins import SETTINGS, JoiningPipeline, home_of
from tests.unit.builders.topic_records import LoggedRecord

MIX = Mix(users=6, identities=0.1, repeats=0.05, poison=0, batches=0)
EVENTS = 500


@dataclass(frozen=True)
class Run:
    """A log and the topics that came of it."""

    log: list[LoggedRecord]
    predictions: list[LoggedRecord]
    changelog: list[LoggedRecord]

    def verdict(self) -> Verdict:
        topics = Topics(list(self.predictions), [], list(self.changelog))
        expected = replay(self.log, LENGTH)
        return judge_joined(expected, topics, epoch=1, topic=SETTINGS.events_topic)


def logged(load: list[Labelled]) -> list[LoggedRecord]:
    ends: defaultdict[int, int] = defaultdict(int)
    log = []
    for record in load:
        home = home_of((record.key or b"").decode())
        header = (EXPECT, record.expect.encode())
        log.append(LoggedRecord(home, ends[home], record.key, record.value, (header,), 5))
        ends[home] += 1
    return log


@cache
def sound() -> Run:
    """What the pipeline makes of a load in batches of 40; cached, so not to be changed."""
    last = [identity(number, 0, own=False) for number in range(MIX.users)]
    log = logged([*islice(records(MIX, 3, 1_750_000_000_000), EVENTS), *last])
    joining = JoiningPipeline(LENGTH)
    for start in range(0, len(log), 40):
        batch = [
            make_record(one.value, key=one.key, offset=one.offset, partition=one.partition)
            for one in log[start : start + 40]
        ]
        joining.process(batch)
    predictions, changelog = (
        [LoggedRecord(partition, offset, sent.key, sent.value) for offset, (partition, sent) in enumerate(topic)]
        for topic in (joining.predictions, joining.changelog)
    )
    return Run(log, predictions, changelog)


def test_what_the_pipeline_makes_is_as_it_must_be() -> None:
    verdict = sound().verdict()
    assert verdict.examples == []
    assert (verdict.lost, verdict.repeated, verdict.wrong_answers, verdict.wrong_states) == (0, 0, 0, 0)
    assert verdict.moved > EVENTS / 4


def test_the_load_tells_of_users_under_either_key() -> None:
    load = list(islice(records(MIX, 1, 0), 3000))
    told = [json.loads(record.value or b"") | {"key": record.key} for record in load if record.expect == IDENTITY]
    own = [one["key"] == one["anonymous_id"].encode() for one in told]
    assert 0.3 * len(own) < sum(own) < 0.7 * len(own)
    assert len({(one["user_id"], one["anonymous_id"]) for one in told}) == 3 * MIX.users
    ids = [json.loads(record.value or b"")["event_id"] for record in load if record.expect == EVENT]
    assert len(set(ids)) < len(ids)


def _without_last(run: Run, user: str) -> Run:
    """The run without the newest record of a user: the one before it is their last."""
    newest = max(number for number, record in enumerate(run.changelog) if record.key == user.encode())
    return replace(run, changelog=[*run.changelog[:newest], *run.changelog[newest + 1 :]])


def _lost(run: Run) -> Run:
    """The known user has not taken in what the last join brought."""
    return _without_last(run, "u1")


def _doubled(run: Run) -> Run:
    """The anonymous user has still what went over."""
    emptied = [number for number, record in enumerate(run.changelog) if record.key == b"a1"]
    before = run.changelog[emptied[-2]]
    return replace(run, changelog=[*run.changelog, replace(before, offset=len(run.changelog))])


def _length(run: Run) -> Run:
    value = json.loads(run.predictions[70].value)
    changed = replace(run.predictions[70], value=json.dumps(value | {"history_length": 400}).encode())
    return replace(run, predictions=[*run.predictions[:70], changed, *run.predictions[71:]])


def _elsewhere(run: Run) -> Run:
    """What the last identities say is about others: who has the actions was never told of."""
    log = [
        replace(one, value=one.value.replace(b'"user_id": "u', b'"user_id": "x')) if _tells(one) else one
        for one in run.log
    ]
    return replace(run, log=log)


def _tells(record: LoggedRecord) -> bool:
    return (EXPECT, IDENTITY.encode()) in record.headers


@pytest.mark.parametrize(
    ("change", "counter"),
    [(_lost, "wrong_states"), (_doubled, "wrong_states"), (_length, "wrong_answers"), (_elsewhere, "wrong_states")],
)
def test_every_kind_of_difference_is_seen(change: Callable[[Run], Run], counter: str) -> None:
    assert getattr(change(sound()).verdict(), counter) > 0
