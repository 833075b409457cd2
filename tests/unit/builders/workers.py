"""A worker's questions over real HTTP, with answers that a test has written down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import msgspec
from aiohttp import web

from stream_app.contract.predictions import NextAction, Recommendation, Source
from stream_app.contract.questions.answers import CurrentPrediction, PastAction, UserAnswer

ADA = UserAnswer(
    user_id="ada",
    prediction=CurrentPrediction(
        prediction_id=None,
        user_id="ada",
        event_id=None,
        event_type="view",
        event_timestamp=1_700_000_000_000,
        source=Source(2, 7),
        model_version="v1",
        history_length=1,
        next_type={"view": 1.0},
        next_actions=[NextAction("view", 0.5, "shoe-7"), NextAction("search", 0.1)],
        recommendations=[Recommendation("shoe-7", 0.25)],
        purchase_probability=0.5,
    ),
    titles={"shoe-7": "Road runner 7"},
    history=[PastAction("view", "shoe-7", seconds_before=0.0)],
    source="state",
    age_ms=12,
    partition=2,
    worker="w1",
)


@dataclass(frozen=True)
class WrittenAnswer:
    """What comes back to one question; without a status the connection is cut."""

    content: Any = None  # a struct or JSON; bytes as they are
    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AskedQuestion:
    """What came in."""

    method: str
    path: str  # as it was sent
    token: str | None
    body: bytes


def refused(status: int, code: str, **headers: str) -> WrittenAnswer:
    """Returns an error as workers write it."""
    return WrittenAnswer({"error": {"code": code, "message": "in words"}}, status, headers)


@contextmanager
def written_worker(answers: Sequence[WrittenAnswer]) -> Iterator[tuple[str, list[AskedQuestion]]]:
    """Gives an address that answers one question after the other (the last answer stays), and what was asked."""
    asked: list[AskedQuestion] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked.append(AskedQuestion(request.method, request.raw_path, request.headers.get("Authorization"), body))
        written = answers[min(len(asked), len(answers)) - 1]
        if written.status is None:
            assert request.transport is not None
            request.transport.abort()
        raw = written.content if isinstance(written.content, bytes) else msgspec.json.encode(written.content)
        return web.Response(body=raw, status=written.status or 200, headers=written.headers)

    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)

    async def listen() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        yield asyncio.run_coroutine_threadsafe(listen(), loop).result(), asked
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
