"""Answers what fits a user, somebody who is not known, or an item: from states as they are now, never from memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from model.data.events import item_key
from model.errors import RecordCorrupt
from model.kernels.compiled import Floats
from model.state.user_record import last_actions
from stream_app.contract.decoded import DecodedBatch
from stream_app.contract.questions.answers import (
    RankAnswer,
    RankedItem,
    RankQuestion,
    RelatedAnswer,
    RelatedItem,
    SessionQuestion,
)
from stream_app.people.past_actions import last_time_of
from stream_app.pipeline.asking import NOWHERE, SOMEBODY, AskingPipeline
from stream_app.query.asking import Asking, StateQuestion, without_id
from stream_app.query.known_items import KnownItems
from stream_app.query.memory import AnswersInMemory
from stream_app.query.ranking import distinct_items, keys_of, ranked_items
from stream_app.query.refusals import Refusal, in_rebalance
from stream_app.query.session import read_session

_NO_VERSION: Final = "no version serves yet: the first round of the trainer makes one, ask again then"


class _EncodedSession(msgspec.Struct, frozen=True, omit_defaults=True):
    """`SessionAnswer` with the prediction as it was encoded."""

    prediction: msgspec.Raw
    items: list[RankedItem] | None = None


class RankQuestions:
    """Answers questions about given items, given events, and one item."""

    def __init__(self, asking: Asking, memory: AnswersInMemory, items: KnownItems, now: Callable[[], int]) -> None:
        """`memory` knows which partitions this worker answers; `now` in milliseconds since the epoch."""
        self._asking, self._memory, self._items, self._now = asking, memory, items, now

    async def rank(self, partition: int, user: str, question: RankQuestion) -> RankAnswer:
        """Ranks candidates for a user. Raises `Refusal`."""
        items, owned = distinct_items(question.candidates), self._memory.generation
        answer = await self._asking.ask(StateQuestion((partition, user), keys_of(items)))
        if self._memory.generation is not owned:
            raise in_rebalance()  # another worker may know more by now
        last = None if answer is None else _last_time(answer.record)
        if answer is None or answer.scores is None or last is None:
            raise Refusal("unknown_user", "nothing is known of this user")
        return RankAnswer(user, ranked_items(items, answer.scores), max(self._now() - last, 0), "state")

    async def session(self, question: SessionQuestion) -> Any:
        """Returns a `SessionAnswer` to be encoded, of somebody of whom nothing else is known. Raises `Refusal`."""
        session, items = read_session(question.events, self._now()), distinct_items(question.candidates or ())
        prediction, scores = await self._asking.alone(lambda pipeline: _answer_session(pipeline, session, items))
        return _EncodedSession(
            msgspec.Raw(without_id(prediction)), None if scores is None else ranked_items(items, scores)
        )

    async def related(self, item_id: str, count: int) -> RelatedAnswer:
        """Returns what goes with an item. Raises `Refusal`."""
        found = await self._asking.alone(lambda pipeline: _related(pipeline, item_key(item_id), count))
        titles = self._items.titles([item_id, *(item for item, _ in found)])
        related = [RelatedItem(item, score, titles.get(item)) for item, score in found]
        return RelatedAnswer(item_id, related, titles.get(item_id))


def _last_time(record: bytes) -> int | None:
    """Returns when a user did something last, ms since the epoch; None: nobody can tell."""
    try:
        return last_time_of(last_actions(record))
    except RecordCorrupt:
        return None


def _answer_session(
    pipeline: AskingPipeline, session: DecodedBatch, items: Sequence[str]
) -> tuple[bytes, Floats | None]:
    """Returns the prediction after a session, and the scores of items, if any are given."""
    if not pipeline.is_serving:
        raise Refusal("no_version", _NO_VERSION)
    pipeline.take_session(session)
    prediction = pipeline.asked([NOWHERE], [SOMEBODY]).predictions[0]
    return prediction, pipeline.scored([NOWHERE], [SOMEBODY], [keys_of(items)])[0] if items else None


def _related(pipeline: AskingPipeline, key: int, count: int) -> list[tuple[str, float]]:
    if not pipeline.is_serving:
        raise Refusal("no_version", _NO_VERSION)
    found = pipeline.related(key, count)
    if found is None:
        raise Refusal("unknown_item", "neither the version that serves nor the live statistics know this item")
    return found
