"""The verdict on a run in which workers told what silence says. Shares no code with what it judges.

When a visit ends depends on clocks, but not what is in it: each action of a user's log is in one visit, visits are
numbered from 1 on without a gap, and each end is told; once where deliveries are exactly once. Where they are not, an
end that was told before a kill may be told again with the same id, with what came in between: the last one counts.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from typing import Any, Final

import msgspec

from tests.faults.oracle import Topics, Verdict, final_states, judge
from tests.faults.replay import Expected, User
from tests.faults.trial import Stage
from tests.faults.waiting import until
from tests.integration.topics import read_all

_TOLD_S: Final = 120.0  # until the last visit has ended, and is told


def judge_signals(expected: Expected, topics: Topics, *, epoch: int, topic: str) -> Verdict:
    """As `oracle.judge`, for a run that ended with `all_told`."""
    verdict = judge(expected, topics, epoch=epoch, topic=topic)
    judge_told(verdict, expected, topics, f"nextact/signals/{epoch}/{topic}")
    return verdict


def judge_told(verdict: Verdict, expected: Expected, topics: Topics, stream: str) -> None:
    """Compares signals with the log; `stream` makes their ids."""
    namespace = uuid.uuid5(uuid.UUID(int=0), stream)
    ended: defaultdict[User, dict[int, int]] = defaultdict(dict)  # by number of the visit, its actions
    ids: set[str] = set()
    for record in topics.signals:
        signal = json.loads(record.value)
        user, number = (record.partition, signal["user_id"]), signal["visit"]["number"]
        wanted = str(uuid.uuid5(namespace, f"{user[0]}/{signal['kind']}/{number}/{user[1]}"))
        if signal["signal_id"] != wanted or record.key != user[1].encode():
            verdict.complain("wrong_answers", f"{user}: {signal} under {record.key!r}, not {wanted}")
        verdict.repeated += signal["signal_id"] in ids
        ids.add(signal["signal_id"])
        if signal["kind"] == "visit_ended":
            ended[user][number] = signal["visit"]["actions"]
    for user in sorted(expected.users.keys() | ended.keys()):
        state = expected.users.get(user)
        _judge_visits(verdict, user, ended[user], state.count if state else 0)
    verdict.signals = len(ids)


def _judge_visits(verdict: Verdict, user: User, ended: dict[int, int], actions: int) -> None:
    if sorted(ended) != list(range(1, len(ended) + 1)):
        verdict.complain("lost", f"{user}: of the visits {sorted(ended)} are told")
    elif sum(ended.values()) != actions:
        verdict.complain("wrong_states", f"{user}: {ended} actions in visits, {actions} in the log")


async def all_told(stage: Stage) -> None:
    """Waits until every visit has ended, and is told."""
    await stage.caught_up()
    await until(lambda: _nobody_waits(stage), _TOLD_S, "the end of all visits", every=1.0)


async def _nobody_waits(stage: Stage) -> bool:
    """Whether no user's record says that there is something to tell."""
    settings = stage.settings
    changelog: Any = await asyncio.to_thread(read_all, settings, settings.state_topic, isolation="read_committed")
    states = final_states(changelog)
    return all(stored.timers and msgspec.msgpack.decode(stored.timers)[0] == 0 for stored in states.values())
