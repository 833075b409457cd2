"""Serves the page until it is asked to stop. NiceGUI is imported here and in `pages` alone."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from stream_app.errors import UsageError
from stream_app.page.observer import Observer, Probe
from stream_app.page.options import DEFAULT_PORT, PageOptions
from stream_app.page.pages import add_pages
from stream_app.page.worker_client import WorkerClient

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_STOP_S: Final = 1  # seconds that open browsers may take to go when the page stops
_KEPT_MESSAGES: Final = 20  # that a browser may have missed when it comes back; with more it loads the page anew

logger: Final = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """A server that leaves the signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


async def serve_page(
    options: PageOptions, stop: asyncio.Event, say: Callable[[str], None], broker: Probe | None = None
) -> None:
    """Serves the page until `stop` is set; says where it is."""
    listener = _listen(options.host, options.port)
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(WorkerClient(url, options.token)) for url in options.workers]
        observer = Observer(workers, time.time, broker)
        server = _server(observer, options)
        watching = asyncio.create_task(observer.run())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        say(f"the page is at {address(listener)}")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({watching, serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        for task in (watching, stopping):
            task.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        if watching.done() and not watching.cancelled():
            watching.result()


def _server(observer: Observer, options: PageOptions) -> _Server:
    web = FastAPI(openapi_url=None)
    if options.host in _LOOPBACK:  # another site's name that leads here is turned away: it could read what is shown
        web.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "::1", "[::1]"])
    add_pages(observer, options)
    ui.run_with(
        web,
        title="nextact",
        favicon=_FAVICON,
        dark=None,
        language="en-US",
        tailwind=False,
        message_history_length=_KEPT_MESSAGES,
        show_welcome_message=False,
    )
    return _Server(uvicorn.Config(web, log_level="warning", access_log=False, timeout_graceful_shutdown=_STOP_S))


def _listen(host: str, port: int | None) -> socket.socket:
    try:
        return socket.create_server((host, DEFAULT_PORT if port is None else port), family=_family(host))
    except OSError as error:
        if port is None and error.errno == errno.EADDRINUSE:
            logger.info("port %d is taken: a free one it is", DEFAULT_PORT)
            return _listen(host, 0)
        raise UsageError(
            f"cannot serve the page on {host}:{port}: {error.strerror}. Choose another address with --host and --port; "
            "port 0 takes a free one"
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address(listener: socket.socket) -> str:
    """Returns where a browser on this machine finds the page."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


_FAVICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#2d52cf"/>'
    '<path d="M9 22V13.5a5 5 0 0 1 10 0V22M19 22h4" fill="none" stroke="#fff" stroke-width="3.2"/>'
    "</svg>"
)
