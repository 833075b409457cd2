"""The handlers: from a request to a question, from an answer to a response. Each path of the contract has one."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from model.data.events import ID_LENGTH
from stream_app.contract.event_fields import DECODE_ERRORS
from stream_app.contract.questions.answers import (
    MOST_ACTIVE,
    MOST_HISTORY,
    MOST_RELATED,
    ErrorCode,
    RankQuestion,
    SessionQuestion,
)
from stream_app.contract.questions.openapi import openapi
from stream_app.contract.questions.paths import PATHS, Path
from stream_app.query.access import Access
from stream_app.query.metrics import OTHER, QuestionMetrics
from stream_app.query.questions import Questions
from stream_app.query.refusals import Refusal, json_response
from stream_app.query.routing import Router, partition_of

logger: Final = logging.getLogger(__name__)

LARGEST_BODY: Final = 2**20  # bytes of a question
_CODES: Final[dict[int, ErrorCode]] = {
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}  # of aiohttp's own

T = TypeVar("T")
_RANK_QUESTION: Final = msgspec.json.Decoder(RankQuestion)
_SESSION_QUESTION: Final = msgspec.json.Decoder(SessionQuestion)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Handlers:
    """Answers requests."""

    def __init__(self, questions: Questions, router: Router, *, partitions: int, metrics: tuple[str, int]) -> None:
        """`partitions` there are in all; `metrics`: host (empty: the one that the client asks) and port of them."""
        self._questions, self._router = questions, router
        self._partitions, self._metrics = partitions, metrics
        self._openapi = json.dumps(openapi(), ensure_ascii=False).encode()

    async def user(self, request: web.Request) -> web.Response:
        """Answers what is known of a user."""
        user, rules = _id_in(request, "user"), _flag(request, "rules")
        history = _number(request, "history", MOST_HISTORY, MOST_HISTORY, least=0)
        partition = partition_of(user, self._partitions)
        if (answer := await self._router.forwarded(partition, request)) is not None:
            return answer
        return json_response(await self._questions.user(partition, user, rules=rules, history=history))

    async def rank(self, request: web.Request) -> web.Response:
        """Answers how well items fit a user."""
        user = _id_in(request, "user")
        partition = partition_of(user, self._partitions)
        if (answer := await self._router.forwarded(partition, request)) is not None:
            return answer
        question = await _body_of(request, _RANK_QUESTION)
        return json_response(await self._questions.what_fits.rank(partition, user, question))

    async def session(self, request: web.Request) -> web.Response:
        """Answers what comes next for somebody who is not known."""
        return json_response(await self._questions.what_fits.session(await _body_of(request, _SESSION_QUESTION)))

    async def related(self, request: web.Request) -> web.Response:
        """Answers what goes with an item."""
        item, count = _id_in(request, "item"), _number(request, "count", 20, MOST_RELATED)
        return json_response(await self._questions.what_fits.related(item, count))

    async def users(self, request: web.Request) -> web.Response:
        """Answers which users were active last."""
        return json_response(self._questions.users(_number(request, "active", 1, MOST_ACTIVE)))

    async def worker(self, request: web.Request) -> web.Response:
        """Answers who answers here."""
        host, port = self._metrics
        host = host or request.url.host or "localhost"
        return json_response(self._questions.worker(f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"))

    async def segments(self, _: web.Request) -> web.Response:
        """Answers which groups of users there are."""
        return json_response(self._questions.segments())

    async def live(self, _: web.Request) -> web.Response:
        """Answers that questions are answered."""
        return web.Response(text="alive\n")

    async def openapi(self, _: web.Request) -> web.Response:
        """Answers with the document of all this."""
        return web.Response(body=self._openapi, content_type="application/json")


def application(
    handlers: Handlers, access: Access, metrics: QuestionMetrics, clock: Callable[[], float]
) -> web.Application:
    """Makes the application of all paths; `clock` in seconds, monotonic."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_answering(metrics, clock)])
    for path in PATHS:
        handler = _with_access(path, getattr(handlers, path.name), access)
        if path.method == "GET":
            app.router.add_get(path.path, handler, name=path.name, allow_head=False)
        else:
            app.router.add_post(path.path, handler, name=path.name)
    return app


def _with_access(path: Path, handler: Handler, access: Access) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        access.check(request, is_open=path.is_open)
        return await handler(request)

    return handle


def _answering(metrics: QuestionMetrics, clock: Callable[[], float]) -> Middleware:
    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers also where a handler raises; notes what was asked, without what would tell of whom."""
        start = clock()
        response = await _answer(request, handler)
        response.headers["Cache-Control"] = "no-store"
        resource = request.match_info.route.resource
        path, seconds = OTHER if resource is None else resource.canonical, clock() - start
        metrics.note(path, response.status, seconds)
        logger.debug("%s %s: %d in %.1f ms", request.method, path, response.status, 1000 * seconds)
        return response

    return answer


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        return refusal.response()
    except web.HTTPException as error:
        code = _CODES.get(error.status, "bad_request")
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return Refusal(code, _WORDS.get(code, error.reason), headers=allow).response()
    except Exception:
        logger.exception("a question could not be answered")
        return Refusal("internal", "the worker's log says what went wrong").response()


_WORDS: Final[dict[ErrorCode, str]] = {
    "not_found": "there is no such path: see /openapi.json",
    "method_not_allowed": "this path is asked in another way: see /openapi.json",
    "too_large": f"the body has more than {LARGEST_BODY:,} bytes",
}


def _id_in(request: web.Request, kind: str) -> str:
    """Returns the id in the path."""
    found = request.match_info["id"]
    if len(found) > ID_LENGTH:
        raise Refusal("bad_request", f"the id of {kind}s has at most {ID_LENGTH} characters")
    return found


async def _body_of(request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
    """Returns what is asked in the body."""
    try:
        return decoder.decode(await request.read())
    except DECODE_ERRORS as error:
        raise Refusal("bad_request", f"the body: {error}") from None


def _flag(request: web.Request, name: str) -> bool:
    """Returns a flag in the query string; without it, False."""
    text = request.query.get(name, "false")
    if text not in ("true", "false"):
        raise Refusal("bad_request", f"`{name}` is true or false")
    return text == "true"


def _number(request: web.Request, name: str, default: int, most: int, *, least: int = 1) -> int:
    """Returns a number in the query string."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise Refusal("bad_request", f"`{name}` is a number from {least} to {most}")
    return int(text)
