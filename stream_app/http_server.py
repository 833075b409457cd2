"""Serves /metrics, /healthz and /readyz over HTTP, on the event loop that does the work: if it hangs, so do they."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from stream_app.errors import UsageError

logger: Final = logging.getLogger(__name__)


class HttpServer:
    """Serves one process's metrics and health until it is stopped."""

    def __init__(self, registry: CollectorRegistry, not_ready: Callable[[], str | None]) -> None:
        """`not_ready` returns why the process cannot do its work yet, or None when it can."""
        self._registry = registry
        self._not_ready = not_ready
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens, on a free port if `port` is 0, and returns the port. Raises `UsageError` if it cannot."""
        app = web.Application()
        app.add_routes(
            [web.get("/metrics", self._metrics), web.get("/healthz", _alive), web.get("/readyz", self._ready)]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise UsageError(
                f"cannot serve metrics on {host}:{port}: {error.strerror}. Choose another port with --http-port "
                "or NEXTACT_HTTP_PORT; 0 takes a free one"
            ) from error
        bound: int = self._runner.addresses[0][1]
        logger.info("metrics and health on port %d", bound)
        return bound

    async def stop(self) -> None:
        """Closes the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _ready(self, _: web.Request) -> web.Response:
        reason = self._not_ready()
        return web.Response(text=f"{reason or 'ready'}\n", status=503 if reason else 200)


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="alive\n")
