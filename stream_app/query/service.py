"""All that answers questions in a worker, as one."""

from __future__ import annotations

import time
from typing import Final

from stream_app.query.access import Access
from stream_app.query.handlers import Handlers, application
from stream_app.query.memory import AnswersInMemory
from stream_app.query.questions import Questions
from stream_app.query.routing import OwnPartitions, Router
from stream_app.query.server import QuestionServer
from stream_app.query.view import WorkerView
from stream_app.settings import Settings

_ANY_ADDRESS: Final = ("0.0.0.0", "::")


class QuestionService:
    """Answers questions about a worker's users while it runs."""

    def __init__(self, settings: Settings, view: WorkerView) -> None:
        self._settings = settings
        self.memory = AnswersInMemory(settings.answers_in_memory)
        self.router: Router = OwnPartitions(self.memory)
        self._questions = Questions(view, self.memory, time.time)
        self._server = QuestionServer(settings, self.memory)

    async def start(self, metrics_port: int) -> int:
        """Listens, and returns the port; the metrics are on another one. Raises `UsageError`."""
        host = "" if self._settings.http_host in _ANY_ADDRESS else self._settings.http_host
        handlers = Handlers(
            self._questions, self.router, partitions=self._settings.partitions, metrics=(host, metrics_port)
        )
        access = Access(self._settings, time.monotonic)
        return await self._server.start(application(handlers, access, time.perf_counter))

    async def stop(self) -> None:
        """Answers no more."""
        await self._server.stop()
