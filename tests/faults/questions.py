"""Questions asked while workers die, and what answers to them may say. Shares no code with what it judges.

Any worker may be asked about any user. An answer is a prediction of that user that was published, or what follows from
their log up to some event; and how old it says it is, it is. There may be no answer, for a while. Nobody is unknown of
whom a worker has answered before, or who has been in the changelog for long.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from math import inf
from typing import Any, Final

import aiohttp

from tests.faults.oracle import Topics, Verdict
from tests.faults.replay import Expected, Place, Record
from tests.faults.supervisor import Slot, Supervisor
from tests.faults.waiting import until

_PAUSE_S: Final = 0.04  # between two questions of one who asks
_WHO_ASK: Final = 2  # at once
_CLOCKS_MS: Final = 20  # by which clocks, and the rounding of times, may differ
# After a record of a user was sent to the changelog they are known to whoever owns their partition: it may be durable,
# and acknowledged, as late as there is a new leader for a broker that died, which takes 9 s.
_KNOWN_MS: Final = 15_000
_ALL_S: Final = 60.0  # until every worker answers for every user, once all is calm
_LISTENS: Final = re.compile(r"questions on (http://\S+:\d+)")


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question and what came back; times in ms since the epoch."""

    worker: str  # that was asked
    user: str
    begun: float
    ended: float
    status: int  # 0: nobody listens
    content: Any = None
    retry_after: str | None = None


@dataclass
class Asker:
    """Asks workers about users, one after the other."""

    supervisor: Supervisor
    rng: random.Random
    users: int  # of the load
    asked: list[AskedQuestion] = field(default_factory=list)

    async def run(self) -> None:
        """Asks until it is cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session, asyncio.TaskGroup() as tasks:
            for _ in range(_WHO_ASK):
                tasks.create_task(self._ask_on(session))

    async def all_are_known(self) -> None:
        """Returns when every worker answers for every user of the load: a user without events is not known."""
        async with aiohttp.ClientSession() as session:
            for slot, number in product(self.supervisor.running, range(self.users)):
                user = f"u{number}"
                await until(partial(self._is_settled, session, slot, user), _ALL_S, f"an answer for {user}")

    async def _is_settled(self, session: aiohttp.ClientSession, slot: Slot, user: str) -> bool:
        self.asked.append(await ask(session, slot, user))
        return self.asked[-1].status in (200, 404)

    async def _ask_on(self, session: aiohttp.ClientSession) -> None:
        while True:
            if running := self.supervisor.running:
                user = f"u{self.rng.randrange(self.users)}"
                self.asked.append(await ask(session, self.rng.choice(running), user))
            await asyncio.sleep(_PAUSE_S)


async def ask(session: aiohttp.ClientSession, slot: Slot, user: str) -> AskedQuestion:
    """Asks the worker of a place about a user, where its log says that it listens."""
    begun = 1000 * time.time()
    try:
        url = _LISTENS.findall(slot.log.read_text(errors="replace"))[-1]
        async with session.get(f"{url}/v1/users/{user}") as response:
            content, retry_after = await response.json(), response.headers.get("Retry-After")
            return AskedQuestion(slot.name, user, begun, 1000 * time.time(), response.status, content, retry_after)
    except (IndexError, OSError, aiohttp.ClientError, TimeoutError):
        return AskedQuestion(slot.name, user, begun, 1000 * time.time(), 0)


def judge_questions(
    verdict: Verdict, asked: Iterable[AskedQuestion], expected: Expected, topics: Topics, log: Iterable[Record]
) -> None:
    """Compares the answers with the topics."""
    judge = _Judge(verdict, expected, topics, {(record.partition, record.offset): record.timestamp for record in log})
    for question in sorted(asked, key=lambda question: question.ended):
        status = str(question.status)
        verdict.questions[status] = verdict.questions.get(status, 0) + 1
        judge.look_at(question)
    if "200" not in verdict.questions:
        verdict.complain("wrong_questions", "no question was answered")


@dataclass(frozen=True, slots=True)
class _Firsts:
    """When a user's first was there, by user, ms since the epoch."""

    prediction: dict[str, float]
    record: dict[str, float]  # in the changelog
    answer: dict[str, float]  # over HTTP

    def why_known(self, question: AskedQuestion) -> str | None:
        """Returns what is wrong with saying that a user is not known; None: nothing is."""
        known = self.record.get(question.user, inf) + _KNOWN_MS
        if question.begun <= min(known, self.answer.get(question.user, inf)):
            return None
        since = {"prediction": self.prediction, "record in the changelog": self.record, "answer": self.answer}
        told = [
            f"{_after(times[question.user], question)} the first {what}"
            for what, times in since.items()
            if question.user in times
        ]
        return f"is not known, {', '.join(told)}"


def _after(time: float, question: AskedQuestion) -> str:
    return f"{(question.begun - time) / 1000:.1f} s after"


class _Judge:
    """What may be said of each user."""

    def __init__(self, verdict: Verdict, expected: Expected, topics: Topics, times: Mapping[Place, int]) -> None:
        self._verdict, self._times = verdict, times
        self._published: defaultdict[str, list[Any]] = defaultdict(list)  # by id
        self._firsts = _Firsts({}, {}, {})
        for record in topics.predictions:
            prediction = json.loads(record.value)
            self._published[prediction["prediction_id"]].append(prediction)
            self._firsts.prediction.setdefault(prediction["user_id"], record.timestamp)
        for record in topics.changelog:
            self._firsts.record.setdefault(record.key.decode(), record.timestamp)
        self._states: defaultdict[str, dict[int, int]] = defaultdict(dict)  # by user and length, the last event's time
        for place in sorted(expected.answers):
            answer = expected.answers[place]
            of_user = self._states[answer["user_id"]]
            before = max(of_user.values(), default=answer["event_timestamp"])
            of_user.setdefault(answer["history_length"], max(before, answer["event_timestamp"]))

    def look_at(self, question: AskedQuestion) -> None:
        """Complains of what is not as it must be. Questions come in the order in which they were answered."""
        if question.status == 200:
            self._firsts.answer.setdefault(question.user, question.ended)
            problem = self._problem(question, question.content)
        elif question.status == 404:
            problem = self._firsts.why_known(question)
        elif question.status == 503:
            problem = None if question.retry_after else "is not answered, and not told when to ask again"
        else:
            problem = f"gets {question.status}: {question.content}" if question.status else None
        if problem:
            self._verdict.complain("wrong_questions", f"{question.user}, asked of {question.worker}, {problem}")

    def _problem(self, question: AskedQuestion, answer: Any) -> str | None:
        prediction = answer["prediction"]
        if not question.user == answer["user_id"] == prediction["user_id"]:
            return f"gets the answer of {answer['user_id']}, {prediction['user_id']}"
        if answer["source"] == "published":
            if prediction not in self._published[prediction["prediction_id"]]:
                return f"gets {prediction['prediction_id']}, which was not published like that"
            time = self._times[prediction["source"]["partition"], prediction["source"]["offset"]]
        else:
            length = prediction["history_length"]
            if length not in self._states[question.user]:
                return f"has {length} actions, which they never had after an event"
            time = self._states[question.user][length]
        oldest, youngest = question.ended - time + _CLOCKS_MS, question.begun - time - _CLOCKS_MS
        if not max(youngest, 0) <= answer["age_ms"] <= max(oldest, 0):
            return f"is told {answer['age_ms']} ms ({answer['source']}), not {youngest:.0f} to {oldest:.0f}"
        return None
