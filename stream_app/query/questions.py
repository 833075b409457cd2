"""Answers what is asked of a worker's own users, and of the worker itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from stream_app.contract.questions.answers import (
    ActiveUser,
    ActiveUsers,
    PastAction,
    SegmentCount,
    SegmentsAnswer,
    WorkerAnswer,
)
from stream_app.query.memory import AnswersInMemory
from stream_app.query.refusals import Refusal
from stream_app.query.view import WorkerView


class _EncodedUser(msgspec.Struct, frozen=True):
    """`UserAnswer` with the prediction as the bytes that were published."""

    user_id: str
    prediction: msgspec.Raw
    titles: dict[str, str]
    history: list[PastAction]
    source: str
    age_ms: int
    partition: int
    worker: str


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

    def __init__(self, view: WorkerView, memory: AnswersInMemory, clock: Callable[[], float]) -> None:
        """`clock` in seconds since the epoch."""
        self._view, self._memory, self._clock = view, memory, clock

    async def user(self, partition: int, user_id: str) -> Any:
        """Returns a `UserAnswer` to be encoded. Raises `Refusal`."""
        found = self._memory.find(user_id)
        if found is None or found.partition != partition:
            raise Refusal("unknown_user", "nothing is known of this user")
        return _EncodedUser(
            user_id=user_id,
            prediction=msgspec.Raw(found.value),
            titles=self._titles(found.value),
            history=[],
            source="published",
            age_ms=self._age(found.record_time),
            partition=partition,
            worker=self._view.name,
        )

    def users(self, count: int) -> ActiveUsers:
        """Returns the users who were answered last."""
        newest = self._memory.newest(count)
        return ActiveUsers([ActiveUser(user, self._age(answer.record_time)) for user, answer in newest])

    def worker(self, metrics: str) -> WorkerAnswer:
        """Returns who answers here; `metrics` is an address."""
        serving = self._view.serving()
        return WorkerAnswer(
            worker=self._view.name,
            version=None if serving is None else serving.name,
            metrics=metrics,
            partitions=sorted(self._memory.partitions or ()),
            ready=self._view.not_ready() is None,
        )

    def segments(self) -> SegmentsAnswer:
        """Returns the groups of users by the version that serves."""
        serving, users = self._view.serving(), self._view.segment_users()
        model = None if serving is None else serving.segments
        ids = () if model is None else model.ids.tolist()
        names = () if model is None else model.names
        segments = [
            SegmentCount(number, name, int(users.get(name, 0))) for number, name in zip(ids, names, strict=True)
        ]
        return SegmentsAnswer(None if serving is None else serving.name, segments)

    def _age(self, time: int) -> int:
        return max(round(self._clock() * 1000) - time, 0)

    def _titles(self, prediction: bytes) -> dict[str, str]:
        """Returns the titles of the items that a prediction names."""
        catalogue = self._view.catalogue
        if not len(catalogue):
            return {}
        titles = {}
        with catalogue.lock:
            for item_id in dict.fromkeys(_item_ids(_NAMED_ITEMS.decode(prediction))):
                row = catalogue.row_of(item_id)
                if row >= 0 and (title := catalogue.item(row).title):
                    titles[item_id] = title
        return titles


def _item_ids(named: _NamedItems) -> Iterable[str]:
    items = [*named.recommendations, *named.next_actions]
    for reason in named.reasons:
        items += reason.because
    return (item.item_id for item in items if item.item_id)
