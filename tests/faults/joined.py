"""The verdict on a run with anonymous users who turn out to be known ones. Shares no code with what it judges.

No action of such a load is there twice, and sequences are long enough for all of them. So each action of an anonymous
user has to lie in one place: with a known user who was told of behind it, or else under the anonymous id. What the log
of the anonymous user itself tells has its order; what another partition's log tells is done at any time. Sequences are
merged by estimated times, so the order is judged of what was given away at once, and of each user's own actions.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from aiokafka.errors import KafkaError

from stream_app.kafka.clients import new_admin
from stream_app.kafka.publisher import started_producer
from stream_app.settings import Settings
from tests.faults.load import EXPECT, identity
from tests.faults.oracle import Topics, Verdict, final_states, is_stored, judge_answers
from tests.faults.replay import Action, Expected, State, Told, User, search_as_stored
from tests.faults.stored import Stored
from tests.faults.trial import Stage
from tests.faults.waiting import until
from tests.integration.topics import read_all

LENGTH: Final = 4096  # of sequences: nobody does more in a run
_FREE: Final = ("history_length", "event_time_flag")  # of answers: what joins change, whenever they come
_SETTLED_S: Final = 120.0  # until all joins are read


@dataclass(frozen=True)
class Origin:
    """An action as the log has it."""

    user: User
    rank: int  # among its user's
    offset: int
    action: Action
    part: int | None  # of its user's actions, by when these were given away; None: that is not known


def judge_joined(expected: Expected, topics: Topics, *, epoch: int, topic: str) -> Verdict:
    """As `oracle.judge`, for a run that ended with `tell_of_all`: no anonymous user has anything left."""
    answers = {
        place: {name: value for name, value in wanted.items() if name not in _FREE}
        for place, wanted in expected.answers.items()
    }
    verdict = judge_answers(replace(expected, answers=answers), topics, epoch=epoch, topic=topic)
    _judge_lengths(verdict, expected, topics)
    origins = _origins(expected)
    places: defaultdict[Origin, list[str]] = defaultdict(list)
    found = final_states(topics.changelog)
    for user, stored in found.items():
        state = expected.users.get(user, State(LENGTH))
        if why := _why_wrong(user, stored, state, epoch):
            verdict.complain("wrong_states", f"{user}: {why}")
        for action in _located(verdict, user, stored, origins):
            places[action].append(user[1])
    _judge_places(verdict, origins.values(), places, expected.told)
    return verdict


def _judge_lengths(verdict: Verdict, expected: Expected, topics: Topics) -> None:
    """Users' own actions count, and an anonymous user's begin again with each time that they are told of."""
    asked = {told.anonymous for told in expected.told if not told.own}
    for record in topics.predictions:
        place = topics.source_of(record)
        wanted = expected.answers.get(place)
        if wanted is None:
            continue
        user = (place[0], str(wanted["user_id"]))
        before = [told.place[1] for told in expected.told if told.own and told.anonymous == user[1]]
        since = max((offset for offset in before if offset < place[1]), default=-1)
        applied = expected.users[user].applied
        length = sum(since < offset <= place[1] for offset in applied)
        least = 0 if user[1] in asked else length
        if not least <= _field(record, "history_length") <= length:
            verdict.complain("wrong_answers", f"{place}: length {_field(record, 'history_length')}, not {length}")


def _field(prediction: Any, name: str) -> Any:
    return json.loads(prediction.value)[name]


def _origins(expected: Expected) -> dict[tuple[int, int], Origin]:
    """All actions of the log, by type and each object that a record may have for them."""
    origins = {}
    for user, state in expected.users.items():
        told = [one for one in expected.told if one.anonymous == user[1]]
        given = [one.place[1] for one in told if one.own] if all(one.own for one in told) else None
        for rank, ((code, thing), offset) in enumerate(zip(state.actions, state.applied, strict=True)):
            objects = [thing] if isinstance(thing, int) else [number for number, _ in search_as_stored(thing, 2)]
            for number in objects:
                part = None if given is None else sum(other < offset for other in given)
                origins[code, number] = Origin(user, rank, offset, (code, thing), part)
    return origins


def _why_wrong(user: User, stored: Stored, state: State, epoch: int) -> str | None:
    """What is wrong with a record, but for where its actions come from; None: nothing."""
    if stored.epoch != epoch or (stored.last_time < state.last_time and stored.actions):
        return f"epoch {stored.epoch} or time {stored.last_time}, of its own events {state.last_time}"
    if user[1].startswith("a"):
        return f"{stored.actions} are still there, {stored.count}" if stored.actions or stored.count else None
    if (stored.offset, stored.count) != (state.offset, state.count):
        return f"offset {stored.offset} and count {stored.count}, not {state.offset} and {state.count}"
    return None


def _located(verdict: Verdict, user: User, stored: Stored, origins: dict[tuple[int, int], Origin]) -> list[Origin]:
    """Where the actions of a record come from; those that came together have to be in the order of the log."""
    newest: defaultdict[tuple[User, int], int] = defaultdict(lambda: -1)
    located = []
    for action in stored.actions:
        origin = origins.get(action)
        if origin is None or not is_stored(origin.action, action, stored):
            verdict.complain("wrong_states", f"{user}: {action} is nobody's, or its search has other words")
            continue
        if origin.part is not None:
            if origin.rank <= newest[origin.user, origin.part]:
                verdict.complain("wrong_states", f"{user}: {origin} after {newest[origin.user, origin.part]}")
            newest[origin.user, origin.part] = origin.rank
        located.append(origin)
    return located


def _judge_places(
    verdict: Verdict, origins: Iterable[Origin], places: dict[Origin, list[str]], told: list[Told]
) -> None:
    for origin in set(origins):
        user, where = origin.user[1], places[origin]
        allowed = _allowed(origin, [one for one in told if one.anonymous == user]) or {user}
        if len(where) != 1 or where[0] not in allowed:
            verdict.complain("wrong_states", f"{origin} is in {where}, not in one of {sorted(allowed)}")
        verdict.moved += where != [user]


def _allowed(origin: Origin, told: list[Told]) -> set[str]:
    """The known users of whom an anonymous user's action may be now."""
    behind = [one for one in told if one.own and one.place[1] > origin.offset]
    first = [min(behind, key=lambda one: one.place)] if behind else []
    return {one.user for one in [*first, *(one for one in told if not one.own)]}


async def tell_of_all(stage: Stage) -> None:
    """Tells of all anonymous users once more, when all that was told before is done, and waits until this is."""
    await _settled(stage)
    producer = await started_producer(stage.settings, "publisher")
    try:
        for number in range(stage.users):
            key, value, expect = identity(number, 0, own=False)
            headers = [(EXPECT, expect.encode())]
            await producer.send_and_wait(stage.settings.events_topic, value, key, headers=headers)
            stage.publisher.acknowledged += 1
    finally:
        await producer.stop()
    await _settled(stage)


async def _settled(stage: Stage) -> None:
    await stage.caught_up()
    await until(lambda: all_read(stage.settings), _SETTLED_S, "all joins read", every=0.5)
    await stage.caught_up()


async def all_read(settings: Settings) -> bool:
    """Whether every record of the joins is committed; before it is, what it brings about is in the log."""
    topic = settings.joins_topic
    ends = {
        record.partition: record.offset + 1
        for record in await asyncio.to_thread(read_all, settings, topic, isolation="read_committed")
    }
    admin = new_admin(settings, "worker")
    try:
        await admin.start()
        committed = await admin.list_consumer_group_offsets(settings.group)
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
    done = {tp.partition: state.offset for tp, state in committed.items() if tp.topic == topic}
    return all(done.get(partition, 0) >= end for partition, end in ends.items())
