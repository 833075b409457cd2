"""All that answers questions in a worker, as one."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

from stream_app.query.access import Access
from stream_app.query.addresses import WorkerAddress, own_address, this_machine
from stream_app.query.asking import AskedEngine, Asking
from stream_app.query.forwarding import Forwarder, name_in_hops, sign
from stream_app.query.handlers import Handlers, application
from stream_app.query.members import Members, owners_now
from stream_app.query.memory import AnswersInMemory
from stream_app.query.metrics import QuestionMetrics
from stream_app.query.questions import AnswerSources, Questions
from stream_app.query.routing import Router
from stream_app.query.server import QuestionServer
from stream_app.query.stored_users import StoredUsers
from stream_app.query.view import WorkerView
from stream_app.settings import Settings

_ANY_ADDRESS: Final = ("0.0.0.0", "::")


class QuestionService:
    """Answers questions about a worker's users while it runs."""

    def __init__(self, settings: Settings, view: WorkerView, metrics: QuestionMetrics) -> None:
        self._metrics = metrics
        self._settings, self._name = settings, view.name
        self.memory = AnswersInMemory(settings.answers_in_memory)
        self._hop_name, self._machine = name_in_hops(settings.group, view.name), this_machine()
        members = Members(partial(owners_now, settings), time.monotonic)
        self._forwarder = Forwarder(settings.group, self._machine, members)
        self._router = Router(self._hop_name, lambda: self.memory.partitions, view.spread, self._forwarder)
        self.stored = StoredUsers(view.read, view.not_ready, view.fail)
        asking = Asking(AskedEngine(settings, view), self.stored, view.thread)
        self._questions = Questions(view, AnswerSources(self.memory, self.stored, asking), time.time)
        self._server = QuestionServer(settings, self.memory)

    async def start(self, metrics_port: int) -> WorkerAddress:
        """Listens, and returns where; the metrics are on another port. Raises `UsageError`."""
        host = "" if self._settings.http_host in _ANY_ADDRESS else self._settings.http_host
        handlers = Handlers(
            self._questions, self._router, partitions=self._settings.partitions, metrics=(host, metrics_port)
        )
        access = Access(self._settings, time.monotonic, self._hop_name)
        app = application(handlers, access, self._metrics, time.perf_counter)
        sign(app, self._hop_name)
        app.on_cleanup.append(self._forwarder.close)
        port = await self._server.start(app)
        return await asyncio.to_thread(own_address, self._settings, port, self._name, self._machine)

    async def stop(self) -> None:
        """Answers no more."""
        await self._server.stop()
