"""The listener's thread: ports, ends, and what is wrong with an address."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest
from aiohttp import ClientSession, web
from pydantic import SecretStr

from stream_app.errors import UsageError
from stream_app.query.memory import AnswersInMemory
from stream_app.query.server import DEFAULT_PORT, QuestionServer
from stream_app.settings import Settings


def serve(settings: Settings) -> tuple[int, str]:
    """Starts and asks a listener, and stops it; returns its port and in which thread it answered."""

    async def name(_: web.Request) -> web.Response:
        return web.Response(text=threading.current_thread().name)

    async def run() -> tuple[int, str]:
        server, app = QuestionServer(settings, AnswersInMemory(1)), web.Application()
        app.router.add_get("/", name)
        try:
            port = await server.start(app)
            async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
                return port, await response.text()
        finally:
            await server.stop()

    return asyncio.run(run())


def test_questions_have_a_thread_of_their_own_which_ends() -> None:
    port, thread = serve(Settings(api_port=0))
    assert thread == "questions"
    assert "questions" not in {one.name for one in threading.enumerate()}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def test_a_default_port_that_is_taken_gives_way_to_a_free_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    try:
        with socket.create_server(("127.0.0.1", DEFAULT_PORT)):
            port, _ = serve(Settings())
    except OSError:  # another process has it
        port, _ = serve(Settings())
    assert port != DEFAULT_PORT
    assert f"questions on http://127.0.0.1:{port}, as {DEFAULT_PORT} is taken" in caplog.text


def test_a_port_that_was_asked_for_and_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}: .*NEXTACT_API_PORT"):
            serve(Settings(api_port=port))
    assert serve(Settings(api_port=port))[0] == port


def test_an_address_of_elsewhere_and_one_without_tokens() -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.1:0: .*NEXTACT_API_HOST"):
        serve(Settings(api_host="192.0.2.1", api_port=0, api_tokens=SecretStr("abc")))
    with pytest.raises(UsageError, match="NEXTACT_API_TOKENS"):
        serve(Settings(api_host="0.0.0.0", api_port=0))
    assert serve(Settings(api_host="0.0.0.0", api_port=0, api_tokens=SecretStr("abc")))[1] == "questions"
