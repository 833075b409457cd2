"""Answers about users by their states, in the thread that steps events: so it never runs beside a step.

The records come from the worker's store, and so only what is durable is answered by. A small engine of its own makes
them states, which the versions, the canary and the rules of the worker's answer, and forgets them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from model.kernels.compiled import Floats
from stream_app.pipeline.asking import AskingPipeline
from stream_app.pipeline.engine import new_engine
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.query.stored_users import Owner, StoredUsers
from stream_app.query.together import Together
from stream_app.query.view import WorkerView
from stream_app.settings import Settings

T = TypeVar("T")

_AT_ONCE: Final = 64  # users of a batch: some ms in which no event is stepped
_SCORED_AT_ONCE: Final = 8  # users of a batch whose items are scored: as long, with 1,000 items each
_ID: Final = len(b'{"prediction_id":')  # bytes in front of the id, which is …
_ID_BYTES: Final = len(b'"00000000-0000-0000-0000-000000000000"')  # … so long


class StateQuestion(NamedTuple):
    """A question about a user."""

    owner: Owner
    item_keys: NDArray[np.uint64] | None = None  # (G,), to be scored; None: what comes next is asked


class StateAnswer(NamedTuple):
    """The answer to it."""

    record: bytes  # of the user
    prediction: bytes = b""  # JSON, without an id
    scores: Floats | None = None  # (G,), see `AskingPipeline.scored`; None: nobody asked


class AskedEngine:
    """A pipeline for asking, which answers as the worker's does. The thread that steps owns it."""

    def __init__(self, settings: Settings, view: WorkerView) -> None:
        self._stream = view.engine
        self._records: dict[Owner, bytes] = {}
        settings = settings.model_copy(update={"rules_share": 0.0})
        self._engine = new_engine(settings, view.engine.states.device, self._stored, slots=_AT_ONCE)
        metrics = WorkerMetrics(CollectorRegistry())  # what is asked counts as no event
        self.pipeline = AskingPipeline(self._engine, settings, metrics, time.perf_counter)
        self.pipeline.use_statistics(view.statistics)
        self.pipeline.catalogue = view.catalogue

    def run(self, work: Callable[[AskingPipeline], T], records: dict[Owner, bytes] | None = None) -> T:
        """Asks, with these users' states alone, and forgets everything."""
        self._engine.follow(self._stream)
        self._records = records or {}
        try:
            return work(self.pipeline)
        finally:
            self._records = {}
            self._engine.clear()

    def damaged(self) -> set[Owner]:
        """Returns the users of the question at hand whose records cannot be read."""
        return {(one.partition, one.user) for one in self._engine.states.damaged}

    def _stored(self, partition: int, users: Sequence[str]) -> dict[str, bytes]:
        found = ((user, self._records.get((partition, user))) for user in users)
        return {user: record for user, record in found if record is not None}


class Asking:
    """Answers questions about users by their states."""

    def __init__(self, engine: AskedEngine, users: StoredUsers, thread: Executor) -> None:
        """`thread` is the one that steps events."""
        self._engine, self._users, self._thread = engine, users, thread
        self._together = Together(self._answer, thread, _AT_ONCE)
        self._scoring = Together(self._answer, thread, _SCORED_AT_ONCE)
        self._alone = Together(self._run, thread, 1)

    async def ask(self, question: StateQuestion) -> StateAnswer | None:
        """Returns the answer; None: nothing is known of the user. Raises `Refusal` in a rebalance."""
        return await (self._together if question.item_keys is None else self._scoring).ask(question)

    async def alone(self, work: Callable[[AskingPipeline], T]) -> T:
        """Asks something else of the engine, which no other question shares: see `AskedEngine.run`."""
        return cast(T, await self._alone.ask(work))

    def _run(self, work: list[Callable[[AskingPipeline], object]]) -> list[object]:
        return [self._engine.run(one) for one in work]

    def _answer(self, questions: list[StateQuestion]) -> list[StateAnswer | None]:
        records = self._users.find(list(dict.fromkeys(question.owner for question in questions)))
        predictions = self._predictions(questions, records)
        scores = self._scores(questions, records)
        answers: list[StateAnswer | None] = []
        for number, (owner, item_keys) in enumerate(questions):
            if owner not in records:
                answers.append(None)
            elif item_keys is None:
                answers.append(StateAnswer(records[owner], prediction=predictions[owner]))
            else:
                answers.append(StateAnswer(records[owner], scores=scores.get(number)))
        return answers

    def _predictions(self, questions: list[StateQuestion], records: dict[Owner, bytes]) -> dict[Owner, bytes]:
        """Returns what is said of the users of whom that is asked; takes those of damaged records out of `records`."""
        asked = list(dict.fromkeys(one.owner for one in questions if one.item_keys is None and one.owner in records))
        if not asked:
            return {}

        def ask(pipeline: AskingPipeline) -> list[bytes]:
            predictions = pipeline.asked(*_columns(asked)).predictions
            for owner in self._engine.damaged():
                del records[owner]
            return predictions

        return {owner: without_id(one) for owner, one in zip(asked, self._engine.run(ask, records), strict=True)}

    def _scores(self, questions: list[StateQuestion], records: dict[Owner, bytes]) -> dict[int, Floats]:
        """Returns the scores by the number of the question; takes damaged records out of `records`."""
        keys = {
            number: one.item_keys
            for number, one in enumerate(questions)
            if one.item_keys is not None and one.owner in records
        }
        if not keys:
            return {}
        owners = [questions[number].owner for number in keys]

        def score(pipeline: AskingPipeline) -> list[Floats]:
            scores = pipeline.scored(*_columns(owners), list(keys.values()))
            for owner in self._engine.damaged():
                records.pop(owner, None)
            return scores

        return dict(zip(keys, self._engine.run(score, records), strict=True))


def _columns(owners: Sequence[Owner]) -> tuple[list[int], list[str]]:
    return [partition for partition, _ in owners], [user for _, user in owners]


def without_id(prediction: bytes) -> bytes:
    """Returns a prediction with no id, as it was not published."""
    return prediction[:_ID] + b"null" + prediction[_ID + _ID_BYTES :]
