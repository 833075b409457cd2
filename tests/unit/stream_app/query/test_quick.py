"""What is answered at once is byte for byte what aiohttp's way answers, and nothing overtakes anything."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from threading import Event

import pytest
from aiohttp import web
from prometheus_client import generate_latest
from pydantic import SecretStr

from stream_app.query.quick import QuickAnswers, RequestReader, is_whole
from stream_app.query.routing import partition_of
from stream_app.settings import Settings
from tests.unit.builders.questions import NOW_MS, PARTITIONS, AskedWorker, prediction, published

HEADERS = ("Host: 127.0.0.1", "Accept: */*", "User-Agent: test")
TOKENS = Settings(api_tokens=SecretStr("secret"))


def get(path: str = "/v1/users/u-1", *headers: str, host: bool = True) -> bytes:
    lines = (f"GET {path} HTTP/1.1", *(HEADERS if host else HEADERS[1:]), *headers)
    return "\r\n".join([*lines, "", ""]).encode()


PLAIN = [
    get(),
    get("/v1/users/u-1?history=0"),
    get("/v1/users/u-1?history=07"),
    get("/v1/users/u-1", "Connection: keep-alive", "X-Request-Id: 7"),
    get("/v1/users/~v_.2"),
]
OTHERS = [
    get("/v1/users/nobody"),
    get("/v1/users/u%2D1"),
    get("/v1/users/u-1?history=65"),
    get("/v1/users/u-1?rules=true"),
    get("/v1/users/u-1?history=1&history=2"),
    get("/v1/users/u-1", "Connection: close"),
    get("/v1/users/u-1", "Nextact-Hop: nextact/other"),
    get("/v1/users/u-1", "Host: 127.0.0.1"),
    get("/v1/users/u-1", host=False),
    get("/v1/users/u-1", "Odd:  \t x"),
    get("/v1/users/u-1", "Content-Length: 0"),
    get("/v1/users/u-1", "Content-Length: 2") + b"{}",
    get("/v1/users/u-1").replace(b"1.1\r\n", b"1.0\r\n", 1),
    get("/v1/users"),
    get("/v1/live"),
    b"POST /v1/users/u-1/rank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /v1/users/u-1\r\n\r\n",
]


def exchanged(chunks: Sequence[bytes], settings: Settings, *, quick: bool, pause: bool = True) -> bytes:
    """What a worker sends for chunks, one after the other, without dates, and what it counted; an empty chunk stands
    for another client's turn."""
    worker = AskedWorker(settings)
    worker.quick = quick
    for user in ("u-1", "~v_.2"):
        value = prediction(user)
        worker.memory.note(published(partition_of(user, PARTITIONS), [(user, value)], [NOW_MS - 250]))

    async def ask() -> bytes:
        async with worker.answering() as base:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
            received = b""
            for chunk in chunks:
                if not chunk:
                    await meanwhile(base)
                    continue
                writer.write(chunk)
                if pause:
                    received += await answer_of(reader)
            if not pause:
                writer.write(get("/v1/live", "Connection: close"))
            received += await (reader.read(0) if pause else reader.read())
            writer.close()
            return received

    received = asyncio.run(ask())
    counted = re.findall(rb"nextact_questions_total.*", generate_latest(worker.registry))
    return re.sub(rb"Date: [^\r]*", b"Date: then", received) + b"\n".join(counted)


async def meanwhile(base: str) -> None:
    """Asks on a connection of its own: when that is answered, whatever was begun before is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
    writer.write(get("/v1/live", "Connection: close"))
    await reader.read()
    writer.close()


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """One answer, to the end of its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None
    return head + await reader.readexactly(int(length[1]))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The requests that were answered at once."""
    requests: list[bytes] = []
    answer = QuickAnswers.answer

    def note(self: QuickAnswers, data: bytes, reader: RequestReader) -> bytes | None:
        answered = answer(self, data, reader)
        if answered is not None:
            requests.append(data)
        return answered

    monkeypatch.setattr(QuickAnswers, "answer", note)
    return requests


@pytest.mark.parametrize("request_", [*PLAIN, *OTHERS])
def test_bytes_and_counts_are_those_of_aiohttps_way(request_: bytes, at_once: list[bytes]) -> None:
    answers = [exchanged([request_], Settings(), quick=quick) for quick in (True, False)]
    assert answers[0] == answers[1]
    assert at_once == ([request_] if request_ in PLAIN else [])


def test_tokens_names_and_rates_are_checked_as_they_are_there(at_once: list[bytes]) -> None:
    wrong, right = (get("/v1/users/u-1", f"Authorization: {said}") for said in ("Bearer no", "bearer  secret "))
    asked = [get(), wrong, right, get("/v1/users/u-1", "Authorization: Basic c2VjcmV0")]
    answers = [exchanged(asked, TOKENS, quick=quick) for quick in (True, False)]
    assert answers[0] == answers[1]
    assert re.findall(rb"HTTP/1.1 (\d+)", answers[0]) == [b"401", b"403", b"200", b"401"]
    strange = get(host=False).replace(b"Accept:", b"Host: shop.example\r\nAccept:")
    seldom = Settings(api_rate=2.0)
    answers = [exchanged([strange, get(), get(), get()], seldom, quick=quick) for quick in (True, False)]
    assert answers[0] == answers[1]
    assert re.findall(rb"HTTP/1.1 (\d+)", answers[0]) == [b"400", b"200", b"429", b"429"]
    assert len(at_once) == 8


def test_requests_that_wait_for_each_other_are_answered_in_order(at_once: list[bytes]) -> None:
    asked = [get("/v1/users/nobody"), get(), get("/v1/users/u%2D1"), get(), get() + get("/v1/users/nobody"), get()]
    answers = [exchanged(asked, Settings(), quick=quick, pause=False) for quick in (True, False)]
    assert answers[0] == answers[1]
    assert re.findall(rb"HTTP/1.1 (\d+)", answers[0]) == [
        b"404",
        b"200",
        b"200",
        b"200",
        b"200",
        b"404",
        b"200",
        b"200",
    ]


def test_a_connection_is_quick_again_after_whole_requests_and_not_after_pieces(at_once: list[bytes]) -> None:
    rank = b"POST /v1/users/u-1/rank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}"
    exchanged([get("/v1/users/nobody"), rank, b"", get()], Settings(), quick=True)
    assert at_once == [get()]
    at_once.clear()
    pieces = [get("/v1/users/nobody"), b"", get()[:9], b"", get()[9:] + get()[:30], b"", get()[30:], b"", get(), b""]
    exchanged(pieces, Settings(), quick=True, pause=False)
    assert at_once == []
    hidden = [b"GET /v1/live HTTP/1.1\r\nX-Before: ", b"", get(), b""]  # a request that is a header's value
    answers = [exchanged(hidden, Settings(), quick=quick, pause=False) for quick in (True, False)]
    assert answers[0] == answers[1]


def test_nothing_overtakes_a_question_that_takes_long(at_once: list[bytes]) -> None:
    worker, answer = AskedWorker(Settings()), Event()
    worker.memory.note(published(partition_of("u-1", PARTITIONS), [("u-1", prediction("u-1"))], [NOW_MS]))

    async def ask() -> list[bytes]:
        async with worker.answering() as base:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
            worker.view.thread.submit(answer.wait)
            for request in (get("/v1/users/nobody"), get()):
                writer.write(request)
                await meanwhile(base)
            answer.set()
            heads = [(await answer_of(reader))[:12] for _ in range(2)]
            writer.close()
            return heads

    assert asyncio.run(ask()) == [b"HTTP/1.1 404", b"HTTP/1.1 200"]
    assert at_once == []


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (get(), True),
        (get() + b"\r\n", False),
        (get()[:-1], False),
        (get()[3:], False),
        (get("/x", "content-length: 2") + b"{}", True),
        (get("/x", "Content-Length: 2") + b"{}G", False),
        (get("/x", "Content-Length: 2"), False),
        (get("/x", "Transfer-Encoding: chunked"), False),
        (b"0\r\n\r\n", False),
    ],
)
def test_only_what_is_surely_one_request_counts_as_one(data: bytes, whole: bool) -> None:
    assert is_whole(data) == whole


def test_aiohttp_has_what_connections_lean_on() -> None:
    assert {"_waiter", "_next_keepalive_close_time"} <= set(web.RequestHandler.__slots__)


def test_who_leaves_their_answers_unread_is_not_quick(at_once: list[bytes]) -> None:
    large = prediction("u-1").replace(b'"event_id":null', b'"event_id":"' + b"x" * 2**20 + b'"')
    worker = AskedWorker(Settings())
    worker.memory.note(published(partition_of("u-1", PARTITIONS), [("u-1", large)], [NOW_MS]))

    async def ask() -> None:
        async with worker.answering() as base:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]), limit=2**10)
            for _ in range(40):
                writer.write(get())
                await meanwhile(base)
            assert len(at_once) < 40
            for _ in range(40):
                assert (await answer_of(reader)).endswith(b"}")
            writer.close()

    asyncio.run(ask())
