"""Answers the question that comes most at once: about a user whose prediction is in memory, in the call that reads it.

For each request aiohttp takes a task, three turns of the event loop and dozens of objects: that costs more than the
answer, and gives the interpreter away each time, for which events wait. So a connection looks first whether what came
is one plain GET of a user, in the narrow form below. aiohttp answers everything else on the same connection.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE

from stream_app.contract.questions.answers import MOST_HISTORY
from stream_app.query.access import Access
from stream_app.query.forwarding import HOP
from stream_app.query.handlers import Handlers
from stream_app.query.metrics import QuestionMetrics
from stream_app.query.refusals import Refusal

PATH: Final = "/v1/users/{id}"
_LONGEST: Final = 4096  # bytes of a plain request
_MOST_HEADERS: Final = 64
# A request and nothing behind it; no character of the id stands for another one, and nothing of it is a folder.
_PLAIN: Final = re.compile(
    rb"GET /v1/users/([A-Za-z0-9_~-][A-Za-z0-9._~-]{0,255})(?:\?history=([0-9]{1,2}))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]+: [\x20-\x7e]*\r\n)+)\r\n"
)
# Headers by which a request may be more than it seems, or the connection may become another one.
_OF_CONNECTIONS: Final = frozenset(
    {"content-length", "transfer-encoding", "content-encoding", "expect", "upgrade", "te", "trailer", "keep-alive"}
)
_WHOLE: Final = re.compile(rb"[A-Z]+ [^\r\n]+ HTTP/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: ([0-9]{1,7})\r\n", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding", re.IGNORECASE)

logger: Final = logging.getLogger(__name__)


class PlainRequest(NamedTuple):
    """Who asks."""

    remote: str
    host: str
    headers: Mapping[str, str]  # those that say who it is


AtOnce = Callable[[bytes, "RequestReader"], bytes | None]  # answers what was read; None: it cannot, or not at once


class QuickAnswers:
    """Answers plain requests as the application would: with the same checks and counts, and byte for byte the same."""

    def __init__(
        self,
        handlers: Handlers,
        access: Access,
        metrics: QuestionMetrics,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        """`clock` in seconds, monotonic; `now` in seconds since the epoch."""
        self._handlers, self._access, self._metrics = handlers, access, metrics
        self._clock, self._now = clock, now

    def answer(self, data: bytes, reader: RequestReader) -> bytes | None:
        """Returns the response to a request; None: it is not plain, or not to be answered at once, and not counted."""
        if len(data) > _LONGEST or (found := _PLAIN.fullmatch(data)) is None:
            return None
        start, user, history = self._clock(), found[1].decode(), int(found[2] or MOST_HISTORY)
        request = reader.read(found[3])
        if request is None or history > MOST_HISTORY:
            return None
        try:
            return self._answer(request, user, history, start)
        except Exception:  # aiohttp's way comes to it, too, and says so
            return None

    def _answer(self, request: PlainRequest, user: str, history: int, start: float) -> bytes | None:
        partition = self._handlers.partition_at_once(user)
        if partition is None:
            return None
        try:
            self._access.check(request, is_open=False)
        except Refusal as refusal:
            response = refusal.response()
            return self._told(response.status, response.headers, response.body, start)
        body = self._handlers.user_at_once(partition, user, history)
        return None if body is None else self._told(200, _JSON, body, start)

    def _told(self, status: int, headers: Mapping[str, str], body: Any, start: float) -> bytes:
        """Returns a response, and counts it."""
        seconds = self._clock() - start
        self._metrics.note(PATH, status, seconds)
        logger.debug("GET %s: %d in %.1f ms", PATH, status, 1000 * seconds)
        return _message(status, headers, body, _date(int(self._now())))


class RequestReader:
    """Reads the headers of one connection's plain requests, which are mostly the same each time."""

    def __init__(self, remote: str) -> None:
        self._remote = remote
        self._last: tuple[bytes, PlainRequest | None] = b"", None

    def read(self, text: bytes) -> PlainRequest | None:
        """Returns who asks; None: the request is not plain."""
        if text != self._last[0]:
            self._last = text, _read(text, self._remote)
        return self._last[1]


def _read(text: bytes, remote: str) -> PlainRequest | None:
    pairs = [line.split(": ", 1) for line in text.decode("ascii").split("\r\n")[:-1]]
    headers = {name.lower(): value.strip() for name, value in pairs}
    twice = len(headers) < len(pairs)
    if twice or len(pairs) > _MOST_HEADERS or not headers.get("host") or HOP.lower() in headers:
        return None
    if _OF_CONNECTIONS & headers.keys() or headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    token = headers.get("authorization")
    return PlainRequest(remote, headers["host"], {} if token is None else {"Authorization": token})


_JSON: Final = {"Content-Type": "application/json"}


def _message(status: int, headers: Mapping[str, str], body: bytes, date: str) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}Cache-Control: no-store\r\n"
        f"Content-Length: {len(body)}\r\nDate: {date}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
    ).encode() + body


@lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


class QuickConnection(web.RequestHandler):
    """A client's connection, which is aiohttp's but for what is answered at once."""

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, at_once: AtOnce | None) -> None:
        super().__init__(server, loop=loop, access_log=None)  # type: ignore[arg-type]  # None: there is none
        self._at_once = at_once
        self._reader = RequestReader("")
        # Whether all that aiohttp was given are whole requests, so that its parser is between two of them. Once it may
        # not be, it answers for good: whoever sends requests in pieces is answered a little later.
        self._between = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Notes who asks."""
        super().connection_made(transport)
        address = transport.get_extra_info("peername")
        self._reader = RequestReader(str(address[0]) if isinstance(address, tuple) else "")

    def data_received(self, data: bytes) -> None:
        """Answers a request at once, or hands what came to aiohttp."""
        if self._at_once is not None and self._is_idle() and (answer := self._at_once(data, self._reader)) is not None:
            assert self.transport is not None
            self.transport.write(answer)
            self._next_keepalive_close_time = self._loop.time() + self.keepalive_timeout
            return
        self._between = self._between and (not data or is_whole(data))  # aiohttp has itself called with nothing
        super().data_received(data)

    def _is_idle(self) -> bool:
        """Returns whether nothing is being read or answered, and the client has taken what it was sent."""
        waiter, transport = self._waiter, self.transport  # aiohttp waits for the next request, unless it is closing
        if not self._between or waiter is None or waiter.done() or transport is None:
            return False
        return transport.get_write_buffer_size() == 0


def is_whole(data: bytes) -> bool:
    """Returns whether bytes are one request to its end, beyond doubt."""
    head = _WHOLE.match(data)
    if head is None or _CHUNKED.search(head[0]):
        return False
    length = _LENGTH.search(head[0])
    return len(data) == head.end() + (0 if length is None else int(length[1]))
