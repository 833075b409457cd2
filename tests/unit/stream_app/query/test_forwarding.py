"""One worker asks another one, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, web
from pydantic import SecretStr

from stream_app.query import forwarding
from stream_app.query.addresses import WorkerAddress
from stream_app.query.forwarding import HOP, name_in_hops
from stream_app.query.routing import partition_of
from stream_app.settings import Settings
from tests.unit.builders.questions import MACHINE, NOW_MS, PARTITIONS, AskedWorker, prediction, published

TOKEN = "secret-of-the-shop"
ASKED_WITH = {"Authorization": f"Bearer {TOKEN}"}
SETTINGS = Settings(api_tokens=SecretStr(TOKEN))
USER = "a/b é"  # of the second worker
ABOUT = "/v1/users/a%2Fb%20%C3%A9"
PARTITION = partition_of(USER, PARTITIONS)


def at(url: str, name: str = "two") -> WorkerAddress:
    return WorkerAddress(url, name)


def two_workers(settings: Settings = SETTINGS) -> tuple[AskedWorker, AskedWorker]:
    """The second one owns the user's partition, the first one all others."""
    first = AskedWorker(settings, [number for number in range(PARTITIONS) if number != PARTITION], "one")
    second = AskedWorker(settings, [PARTITION], "two")
    second.memory.note(published(PARTITION, [(USER, prediction(USER))], [NOW_MS - 250]))
    return first, second


async def ask(
    base: str, path: str = ABOUT, headers: Mapping[str, str] = ASKED_WITH, method: str = "GET"
) -> tuple[int, Any, Mapping[str, str]]:
    async with (
        ClientSession(timeout=ClientTimeout(10)) as session,
        session.request(method, base + path, headers=headers) as response,
    ):
        return response.status, await response.json(), response.headers


class OtherProgram:
    """Something else that listens where a worker did, and notes what it is asked."""

    def __init__(self, response: web.StreamResponse | None = None) -> None:
        self.response = response or web.json_response({"user_id": USER, "secret": True})
        self.asked: list[web.Request] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        async def note(request: web.Request) -> web.StreamResponse:
            self.asked.append(request)
            return self.response

        app = web.Application()
        app.router.add_route("*", "/{any:.*}", note)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def test_the_owner_s_answer_is_handed_back() -> None:
    first, second = two_workers()

    async def body() -> None:
        async with first.answering() as here, second.answering() as there:
            first.spread[PARTITION] = str(at(there).spread())
            status, answer, headers = await ask(here)
            assert (status, answer["user_id"], answer["worker"], answer["age_ms"]) == (200, USER, "two", 250)
            assert headers["Cache-Control"] == "no-store"
            assert headers["Content-Type"] == "application/json"
            assert (status, answer) == (await ask(there))[:2]
            assert (await ask(here, headers={}))[0] == 401
            assert (await ask(here, headers={"Authorization": "Bearer other"}))[0] == 403

    asyncio.run(body())


def test_a_refusal_of_the_owner_is_handed_back() -> None:
    first, second = two_workers()
    unknown = next(f"u{n}" for n in range(100) if partition_of(f"u{n}", PARTITIONS) == PARTITION)

    async def body() -> None:
        async with first.answering() as here, second.answering() as there:
            first.spread[PARTITION] = str(at(there).spread())
            status, answer, _ = await ask(here, f"/v1/users/{unknown}")
            assert (status, answer["error"]["code"]) == (404, "unknown_user")
            second.memory.pause()
            status, answer, headers = await ask(here)
            assert (status, answer["error"]["code"], headers["Retry-After"]) == (503, "rebalancing", "1")

    asyncio.run(body())


def test_the_body_goes_along() -> None:
    first, second = two_workers()
    body_sent = json.dumps({"candidates": ["shoe 1", "hat"]}).encode()

    async def body() -> None:
        async with first.answering() as here, second.answering() as there, ClientSession() as session:
            first.spread[PARTITION] = str(at(there).spread())
            answers = []
            for base, content in (
                (here, body_sent),
                (there, body_sent),
                (here, b"{}"),
                (here, BytesIO(b" " * (1 << 21))),
            ):
                async with session.post(f"{base}{ABOUT}/rank", data=content, headers=ASKED_WITH) as response:
                    answers.append((response.status, await response.read()))
            assert answers[0] == answers[1]
            assert [status for status, _ in answers[2:]] == [400, 413]

    asyncio.run(body())


def test_a_forwarded_question_is_not_forwarded_again() -> None:
    first, second = two_workers()
    second.memory.resume([])  # both believe that the other one is the owner

    async def body() -> None:
        async with first.answering() as here, second.answering() as there:
            first.spread[PARTITION] = str(at(there).spread())
            second.spread[PARTITION] = str(at(here, "one").spread())
            status, answer, headers = await asyncio.wait_for(ask(here), 5)
            assert (status, answer["error"]["code"], headers["Retry-After"]) == (503, "rebalancing", "1")

    asyncio.run(body())


def test_a_client_can_not_say_who_is_asked() -> None:
    first, second = two_workers()
    other = OtherProgram()

    async def body() -> None:
        async with first.answering() as here, second.answering() as there, other.listening() as elsewhere:
            first.spread[PARTITION] = str(at(there).spread())
            host = elsewhere.removeprefix("http://")
            for headers in ({"Host": host}, {"X-Forwarded-Host": host, "Forwarded": f"host={host}"}):
                assert (await ask(here, headers={**ASKED_WITH, **headers}))[0] == 200
            hop = {HOP: name_in_hops(SETTINGS.group, host)}
            assert (await ask(here, headers={**ASKED_WITH, **hop}))[1]["error"]["code"] == "owner_unreachable"
            reader, writer = await asyncio.open_connection(*here.removeprefix("http://").split(":"))
            writer.write(
                f"GET {elsewhere}{ABOUT} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
                f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
            )
            assert b'"worker":"two"' in await reader.read()
            writer.close()
        assert other.asked == []

    asyncio.run(body())


def test_the_token_does_not_follow_a_redirection() -> None:
    first, _ = two_workers()
    other, evil = OtherProgram(), OtherProgram()

    async def body() -> None:
        async with first.answering() as here, other.listening() as there, evil.listening() as elsewhere:
            other.response = web.Response(status=307, headers={"Location": elsewhere})
            first.spread[PARTITION] = str(at(there).spread())
            status, answer, _ = await ask(here)
            assert (status, answer["error"]["code"]) == (503, "owner_unreachable")
            assert len(other.asked) == 1
        assert evil.asked == []

    asyncio.run(body())


def test_an_answer_of_another_program_or_group_is_no_answer() -> None:
    first, second = two_workers(SETTINGS.model_copy(update={"group": "mine"}))
    second.settings = second.settings.model_copy(update={"group": "theirs"})  # with a user of the same name

    async def body() -> None:
        async with first.answering() as here, second.answering() as there, OtherProgram().listening() as elsewhere:
            for url in (there, elsewhere):
                first.spread[PARTITION] = str(at(url).spread())
                status, answer, headers = await ask(here)
                assert (status, answer["error"]["code"]) == (503, "owner_unreachable")
                assert headers["Retry-After"] == "1"

    asyncio.run(body())


def test_a_worker_that_has_moved_is_asked_where_it_is_now() -> None:
    first, second = two_workers()

    async def body() -> None:
        async with first.answering() as here, second.answering() as there, OtherProgram().listening() as before:
            for heard in (str(at(before).spread()), str(at("http://127.0.0.1:9").spread()), "http://vm:6066"):
                first.spread[PARTITION] = heard
                first.present[PARTITION] = at(there)
                assert (await ask(here))[0] == 200
                first.present.clear()  # from now on nobody has to be asked where it is
                assert (await ask(here))[0] == 200

    asyncio.run(body())


def test_a_worker_of_an_older_version_is_not_asked() -> None:
    first, _ = two_workers()

    async def body() -> None:
        async with first.answering() as here:
            for heard in ({}, {PARTITION: "http://vm:6066"}):
                first.spread.update(heard)
                status, answer, _ = await ask(here)
                assert (status, answer["error"]["code"]) == (503, "owner_unreachable")
                assert "to be upgraded" in answer["error"]["message"]

    asyncio.run(body())


def test_who_listens_on_loopback_elsewhere_is_not_asked() -> None:
    first, second = two_workers()

    async def body() -> None:
        async with first.answering() as here, second.answering() as there:
            owner = replace(at(there), machine="elsewhere", listens="127.0.0.1")
            first.spread[PARTITION] = str(owner.spread())
            status, answer, _ = await ask(here)
            assert (status, answer["error"]["setting"]) == (503, "NEXTACT_API_HOST")
            first.spread[PARTITION] = str(replace(owner, machine=MACHINE).spread())
            assert (await ask(here))[0] == 200

    asyncio.run(body())


def test_an_owner_that_stands_still_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until who asks goes away
        writer.close()

    monkeypatch.setattr(forwarding, "_PATIENCE", ClientTimeout(total=0.05))
    first, _ = two_workers()

    async def body() -> None:
        frozen = await asyncio.start_server(hang, "127.0.0.1", 0)
        async with first.answering() as here, frozen:
            port = frozen.sockets[0].getsockname()[1]
            first.spread[PARTITION] = str(at(f"http://127.0.0.1:{port}").spread())
            status, answer, _ = await asyncio.wait_for(ask(here), 5)
            assert (status, answer["error"]["setting"]) == (503, "NEXTACT_ADVERTISED")

    asyncio.run(body())


def test_a_restarted_owner_is_asked_anew() -> None:
    first, second = two_workers()

    async def body() -> None:
        async with first.answering() as here:
            async with second.answering() as there:
                first.spread[PARTITION] = str(at(there).spread())
                assert (await ask(here))[0] == 200
            second.settings = second.settings.model_copy(update={"api_port": int(there.rpartition(":")[2])})
            assert (await ask(here))[0] == 503
            async with second.answering():
                assert (await ask(here))[0] == 200

    asyncio.run(body())
