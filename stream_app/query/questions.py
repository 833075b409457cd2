"""Answers what is asked of a worker's own users, and of the worker itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from model.data.events import item_key
from model.errors import RecordCorrupt
from stream_app.contract.questions.answers import (
    MOST_HISTORY,
    ActiveUser,
    ActiveUsers,
    AnswerSource,
    PastAction,
    SegmentCount,
    SegmentsAnswer,
    WorkerAnswer,
)
from stream_app.people.past_actions import RememberedPast
from stream_app.query.asking import Asking, StateQuestion
from stream_app.query.known_items import KnownItems
from stream_app.query.memory import AnswersInMemory
from stream_app.query.rank_questions import RankQuestions
from stream_app.query.refusals import Refusal, in_rebalance
from stream_app.query.stored_users import Owner, StoredUsers
from stream_app.query.view import WorkerView

_BY_RULES: Final = 10  # items that the rules recommend, at most


class _EncodedUser(msgspec.Struct, frozen=True, omit_defaults=True):
    """`UserAnswer` with the prediction as the bytes that were published."""

    user_id: str
    prediction: msgspec.Raw
    titles: dict[str, str]
    history: list[PastAction]
    source: str
    age_ms: int
    partition: int
    worker: str
    rules: list[str] | None = None


class _UserFacts(NamedTuple):
    """What was found of a user."""

    owner: Owner
    prediction: bytes
    past: RememberedPast | None
    source: AnswerSource
    time: int  # ms since the epoch, of the last event that it knows of


@dataclass(frozen=True, slots=True)
class AnswerSources:
    """Where answers come from."""

    memory: AnswersInMemory
    stored: StoredUsers
    asking: Asking


class _NamedItem(msgspec.Struct):
    item_id: str | None = None


class _NamedReason(msgspec.Struct):
    item_id: str
    because: list[_NamedItem]


class _NamedItems(msgspec.Struct):
    """The items that a prediction names."""

    recommendations: list[_NamedItem]
    next_actions: list[_NamedItem]
    reasons: list[_NamedReason] = []


_NAMED_ITEMS: Final = msgspec.json.Decoder(_NamedItems)


class Questions:
    """Answers from memory, else from the users' states."""

    def __init__(self, view: WorkerView, sources: AnswerSources, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self._view, self._clock = view, clock
        self._memory, self._stored, self._asking = sources.memory, sources.stored, sources.asking
        self._items = KnownItems(view.engine, view.catalogue)
        self.what_fits = RankQuestions(sources.asking, sources.memory, self._items, self._now)

    async def user(
        self, partition: int, user_id: str, *, rules: bool = False, history: int = MOST_HISTORY
    ) -> _EncodedUser:
        """Returns a `UserAnswer` to be encoded, with so many actions, and what the `rules` say if asked for.

        Raises `Refusal`.
        """
        most = None if rules else history  # the rules look at all
        found = self._published(partition, user_id, most) or await self._by_state(partition, user_id, most)
        return self._encoded(found, history, await self._recommended_by_rules(found.past) if rules else None)

    def _published(self, partition: int, user_id: str, most: int | None) -> _UserFacts | None:
        found = self._memory.find(user_id)
        if found is None or found.partition != partition:
            return None
        owner = partition, user_id
        record = None if most == 0 else self._stored.find([owner]).get(owner)
        past = None if record is None else self._past(record, most)
        return _UserFacts(owner, found.value, past, "published", found.record_time)

    async def _by_state(self, partition: int, user_id: str, most: int | None) -> _UserFacts:
        owned = self._memory.generation
        answer = await self._asking.ask(StateQuestion((partition, user_id)))
        if self._memory.generation is not owned:
            raise in_rebalance()  # another worker may know more by now
        past = None if answer is None else self._past(answer.record, most)
        if answer is None or past is None or past.last_time is None:
            raise Refusal("unknown_user", "nothing is known of this user")
        return _UserFacts((partition, user_id), answer.prediction, past, "state", past.last_time)

    async def _recommended_by_rules(self, past: RememberedPast | None) -> list[str]:
        """Asks the rules, in the thread in which they learn."""
        history = [] if past is None else past.history
        recent = [item_key(one.item_id) for one in history if one.item_id is not None]
        ask, loop = self._view.engine.rules.recommended, asyncio.get_running_loop()
        return await loop.run_in_executor(self._view.thread, ask, recent, _BY_RULES)

    def _encoded(self, found: _UserFacts, history: int, rules: list[str] | None) -> _EncodedUser:
        titles: dict[str, str] = {}
        if self._items.have_titles:
            titles = self._items.titles([*_item_ids(_NAMED_ITEMS.decode(found.prediction)), *(rules or ())])
        return _EncodedUser(
            user_id=found.owner[1],
            prediction=msgspec.Raw(found.prediction),
            titles=titles,
            history=[] if found.past is None else found.past.history[:history],
            source=found.source,
            age_ms=self._age(found.time),
            partition=found.owner[0],
            worker=self._view.name,
            rules=rules,
        )

    def _past(self, record: bytes, most: int | None) -> RememberedPast | None:
        """Returns what a user did; None: their record cannot be read, which the next event of theirs will replace."""
        try:
            return self._items.past(record, most)
        except RecordCorrupt:
            return None

    def users(self, count: int) -> ActiveUsers:
        """Returns the users who were answered last."""
        newest = self._memory.newest(count)
        return ActiveUsers([ActiveUser(user, self._age(answer.record_time)) for user, answer in newest])

    def worker(self, metrics: str) -> WorkerAnswer:
        """Returns who answers here; `metrics` is an address."""
        serving = self._view.serving
        return WorkerAnswer(
            worker=self._view.name,
            version=None if serving is None else serving.name,
            metrics=metrics,
            partitions=sorted(self._memory.partitions or ()),
            ready=self._view.not_ready() is None,
        )

    def segments(self) -> SegmentsAnswer:
        """Returns the groups of users by the version that serves."""
        serving, users = self._view.serving, self._view.engine.segment_users()
        model = None if serving is None else serving.segments
        ids = () if model is None else model.ids.tolist()
        names = () if model is None else model.names
        segments = [
            SegmentCount(number, name, int(users.get(name, 0))) for number, name in zip(ids, names, strict=True)
        ]
        return SegmentsAnswer(None if serving is None else serving.name, segments)

    def _age(self, time: int) -> int:
        return max(self._now() - time, 0)

    def _now(self) -> int:
        return round(self._clock() * 1000)


def _item_ids(named: _NamedItems) -> Iterable[str]:
    items = [*named.recommendations, *named.next_actions]
    for reason in named.reasons:
        items += reason.because
    return (item.item_id for item in items if item.item_id)
