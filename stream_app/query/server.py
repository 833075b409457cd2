"""The listener: a thread with an event loop of its own, so that questions and events do not wait for each other."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Coroutine
from threading import Thread
from typing import Any, Final, TypeVar

from aiohttp import web

from stream_app.errors import UsageError
from stream_app.query.access import check_exposure
from stream_app.query.memory import AnswersInMemory
from stream_app.settings import Settings

T = TypeVar("T")

DEFAULT_PORT: Final = 9680
_TAKE_IN_S: Final = 0.1  # between two looks for answers that were noted
_SHUTDOWN_S: Final = 2.0  # that questions which are being answered may take when the worker stops

logger: Final = logging.getLogger(__name__)


class QuestionServer:
    """Answers questions until it is stopped."""

    def __init__(self, settings: Settings, memory: AnswersInMemory) -> None:
        self._settings, self._memory = settings, memory
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="questions", daemon=True)
        self._runner: web.AppRunner | None = None
        self._taking_in: asyncio.Task[None] | None = None

    async def start(self, app: web.Application) -> int:
        """Listens, and returns the port. Raises `UsageError` if it cannot, or must not."""
        check_exposure(self._settings)
        self._thread.start()
        return await self._in_loop(self._start(app))

    async def stop(self) -> None:
        """Closes the port and ends the thread."""
        if self._thread.is_alive():
            await self._in_loop(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _start(self, app: web.Application) -> int:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        host, port = self._settings.api_host, self._settings.api_port
        first = DEFAULT_PORT if port is None else port
        try:
            await self._listen(host, first)
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise UsageError(
                    f"cannot answer questions on {host}:{first}: {error.strerror}. Choose another "
                    "NEXTACT_API_HOST or NEXTACT_API_PORT; port 0 takes a free one"
                ) from error
            await self._listen(host, 0)
        bound: int = self._runner.addresses[0][1]
        taken = f", as {DEFAULT_PORT} is taken" if port is None and bound != DEFAULT_PORT else ""
        logger.info("questions on http://%s:%d%s", f"[{host}]" if ":" in host else host, bound, taken)
        self._taking_in = asyncio.create_task(self._take_in())
        return bound

    async def _listen(self, host: str, port: int) -> None:
        assert self._runner is not None
        await web.TCPSite(self._runner, host, port).start()

    async def _take_in(self) -> None:
        while True:
            await asyncio.sleep(_TAKE_IN_S)
            try:
                self._memory.take_in()
            except Exception:  # its answers are missing then, and come from the users' states
                logger.exception("published answers could not be kept")

    async def _stop(self) -> None:
        if self._taking_in is not None:
            self._taking_in.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
