"""Durable answers as a worker notes them, and a worker that questions are asked of, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from aiohttp import ClientSession

from model.items.catalogue import ItemCatalogue
from stream_app.contract.predictions import NextAction, Prediction, Recommendation, Source
from stream_app.contract.string_columns import strings
from stream_app.pipeline.batch_result import BatchResult, PublishedValues
from stream_app.query.access import Access
from stream_app.query.handlers import Handlers, application
from stream_app.query.memory import AnswersInMemory
from stream_app.query.questions import Questions
from stream_app.query.routing import OwnPartitions
from stream_app.query.server import QuestionServer
from stream_app.query.view import WorkerView
from stream_app.settings import Settings

PARTITIONS = 4
NOW_MS = 1_700_000_000_000


def prediction(user: str, item: str = "shoe 1", offset: int = 0) -> bytes:
    """A prediction as it is published."""
    return msgspec.json.encode(
        Prediction(
            prediction_id="00000000-0000-0000-0000-000000000000",
            user_id=user,
            event_id=None,
            event_type="view",
            event_timestamp=NOW_MS,
            source=Source(0, offset),
            model_version="v1",
            history_length=1,
            next_type={"view": 1.0},
            next_actions=[NextAction("view", 0.5, item), NextAction("search", 0.1)],
            recommendations=[Recommendation(item, 0.25)],
            purchase_probability=0.5,
        )
    )


def published(partition: int, answers: Sequence[tuple[str, bytes]], times: Sequence[int] | None = None) -> BatchResult:
    """The result of a partition; in its batch another partition's prediction lies before and behind them."""
    users, values = ["other", *(user for user, _ in answers), "other"], [b"x", *(value for _, value in answers), b"y"]
    rows = np.arange(1, len(answers) + 1)
    return BatchResult(
        partition,
        "model",
        record_times=np.array(times if times is not None else [NOW_MS] * len(answers), np.int64),
        published=PublishedValues(users, np.arange(len(users)), strings(values), rows),
    )


class AskedWorker:
    """What answers questions in a worker, without the worker."""

    def __init__(self, settings: Settings, partitions: Sequence[int] = range(PARTITIONS)) -> None:
        self.settings = settings.model_copy(update={"partitions": PARTITIONS, "api_port": 0})
        self.memory = AnswersInMemory(self.settings.answers_in_memory)
        self.memory.resume(partitions)
        self.catalogue = ItemCatalogue()
        self.now = NOW_MS / 1000
        self.questions = Questions(
            WorkerView("w1", lambda: None, lambda: None, dict, self.catalogue), self.memory, lambda: self.now
        )

    def ask(self, *asked: tuple[str, str], **options: Any) -> list[tuple[int, Any, dict[str, str]]]:
        """Asks one question (method and path) after the other; returns status, JSON or text, and headers."""

        async def ask(session: ClientSession, base: str) -> list[tuple[int, Any, dict[str, str]]]:
            answers = []
            for method, path in asked:
                async with session.request(method, base + path, **options) as response:
                    text = response.content_type != "application/json"
                    content = await (response.text() if text else response.json())
                    answers.append((response.status, content, dict(response.headers)))
            return answers

        answers: list[tuple[int, Any, dict[str, str]]] = self.serve(ask)
        return answers

    def serve(self, ask: Callable[[ClientSession, str], Awaitable[Any]]) -> Any:
        """Runs what asks, with a session and the address, while the worker answers."""

        async def run() -> Any:
            handlers = Handlers(self.questions, OwnPartitions(self.memory), partitions=PARTITIONS, metrics=("", 9600))
            app = application(handlers, Access(self.settings, lambda: 0.0), lambda: 0.0)
            server = QuestionServer(self.settings, self.memory)
            try:
                port = await server.start(app)
                async with ClientSession() as session:
                    return await ask(session, f"http://127.0.0.1:{port}")
            finally:
                await server.stop()

        return asyncio.run(run())
