"""Durable answers as a worker notes them, and a worker that questions are asked of, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry

from model.items.catalogue import ItemCatalogue
from model.serving.answer_engine import NoStatistics
from model.state.user_states import RecordLookup, nothing_stored
from stream_app.contract.predictions import NextAction, Prediction, Recommendation, Source
from stream_app.contract.string_columns import strings
from stream_app.pipeline.batch_result import BatchResult, PublishedValues
from stream_app.pipeline.engine import new_engine
from stream_app.query.access import Access
from stream_app.query.addresses import WorkerAddress
from stream_app.query.asking import AskedEngine, Asking
from stream_app.query.forwarding import Forwarder, name_in_hops, sign
from stream_app.query.handlers import Handlers, application
from stream_app.query.members import Members
from stream_app.query.memory import AnswersInMemory
from stream_app.query.metrics import QuestionMetrics
from stream_app.query.questions import AnswerSources, Questions
from stream_app.query.routing import Router
from stream_app.query.server import QuestionServer
from stream_app.query.stored_users import StoredUsers
from stream_app.query.view import WorkerView
from stream_app.settings import Settings
from tests.unit.builders.basics import CPU, HIDDEN, Shelf

PARTITIONS = 4
MACHINE = "the machine that the tests run on"
THREAD = ThreadPoolExecutor(1, "device")
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


def no_fail(error: BaseException) -> None:
    raise AssertionError("a question ends no process") from error


def view_of(
    settings: Settings,
    name: str = "w",
    stored: RecordLookup = nothing_stored,
    catalogue: ItemCatalogue | None = None,
    spread: Callable[[int], str | None] = lambda _: None,
) -> WorkerView:
    """A worker, ready, with an engine that steps events."""
    return WorkerView(
        name=name,
        not_ready=lambda: None,
        engine=new_engine(settings, CPU, stored, slots=8),
        thread=THREAD,
        read=stored,
        statistics=NoStatistics(),
        catalogue=ItemCatalogue() if catalogue is None else catalogue,
        spread=spread,
        fail=no_fail,
    )


class AskedWorker:
    """What answers questions in a worker, without the worker."""

    def __init__(self, settings: Settings, partitions: Sequence[int] = range(PARTITIONS), name: str = "w1") -> None:
        self.name = name
        self.spread: dict[int, str] = {}  # what the group has heard of the partitions' owners
        self.present: dict[int, WorkerAddress] = {}  # where Kafka says that they are now
        self.settings = settings.model_copy(update={"partitions": PARTITIONS, "api_port": 0, "hidden": HIDDEN})
        self.memory = AnswersInMemory(self.settings.answers_in_memory)
        self.memory.resume(partitions)
        self.memory.newest(1)  # from the first question on it keeps answers
        self.catalogue = ItemCatalogue()
        self.now = NOW_MS / 1000
        self.shelf, self.registry = Shelf(), CollectorRegistry()
        self.metrics = QuestionMetrics(self.registry)
        self.view = view_of(self.settings, name, self.shelf, self.catalogue, self.spread.get)
        self.stored = StoredUsers(self.view.read, self.view.not_ready, self.view.fail)
        self.stored.resume(partitions)
        sources = AnswerSources(
            self.memory, self.stored, Asking(AskedEngine(self.settings, self.view), self.stored, self.view.thread)
        )
        self.questions = Questions(self.view, sources, lambda: self.now)

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
            async with self.answering() as base, ClientSession() as session:
                return await ask(session, base)

        return asyncio.run(run())

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[str]:
        """Answers meanwhile, at an address."""

        async def present() -> Mapping[int, WorkerAddress]:
            return self.present

        name = name_in_hops(self.settings.group, self.name)
        forwarder = Forwarder(self.settings.group, MACHINE, Members(present, lambda: 0.0))
        router = Router(name, lambda: self.memory.partitions, self.spread.get, forwarder)
        handlers = Handlers(self.questions, router, partitions=PARTITIONS, metrics=("", 9600))
        access = Access(self.settings, lambda: 0.0, name)
        app = application(handlers, access, self.metrics, lambda: 0.0)
        sign(app, name)
        app.on_cleanup.append(forwarder.close)
        server = QuestionServer(self.settings, self.memory)
        try:
            yield f"http://127.0.0.1:{await server.start(app)}"
        finally:
            await server.stop()
