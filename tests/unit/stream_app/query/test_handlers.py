"""Questions over real HTTP, against what was published."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from aiohttp import ClientSession
from pydantic import SecretStr
from yarl import URL

from model.items.item import Item
from stream_app.contract.questions.answers import ErrorAnswer, UserAnswer, WorkerAnswer
from stream_app.contract.questions.openapi import openapi
from stream_app.query.routing import partition_of
from stream_app.settings import Settings
from tests.unit.builders.questions import NOW_MS, PARTITIONS, AskedWorker, prediction, published

SETTINGS = Settings()


def known(user: str, worker: AskedWorker, value: bytes | None = None) -> None:
    partition = partition_of(user, PARTITIONS)
    worker.memory.note(published(partition, [(user, value or prediction(user))], [NOW_MS - 250]))


@pytest.mark.parametrize(
    "user", ["u", "a/b", "%", "%2F", "é ü", "a?b#c", "..", "x" * 256, "\U0001f600" * 256, "a+b", "1%"]
)
def test_a_user_gets_exactly_what_was_published(user: str) -> None:
    worker = AskedWorker(SETTINGS)
    worker.catalogue.apply([Item("shoe 1", title="A red shoe"), Item("hat", title="A hat")], [0, 0])
    known(user, worker)
    known("somebody else", worker)

    async def ask(session: ClientSession, base: str) -> tuple[int, bytes, Any]:
        address = URL(f"{base}/v1/users/{quote(user, safe='')}", encoded=True)
        async with session.get(address) as response:
            return response.status, await response.read(), response.headers

    status, body, headers = worker.serve(ask)
    answer = msgspec.json.decode(body, type=UserAnswer)
    assert (status, headers["Cache-Control"], headers["Content-Type"]) == (200, "no-store", "application/json")
    assert prediction(user) in body
    assert (answer.user_id, answer.prediction.user_id) == (user, user)
    assert answer.titles == {"shoe 1": "A red shoe"}
    assert (answer.source, answer.age_ms, answer.worker) == ("published", 250, "w1")
    assert answer.partition == partition_of(user, PARTITIONS)


def test_errors_are_json_and_say_what_to_do() -> None:
    worker = AskedWorker(SETTINGS)
    asked = [
        ("GET", "/v1/users/nobody", 404, "unknown_user"),
        ("GET", "/v1/users/" + "x" * 257, 400, "bad_request"),
        ("GET", "/v1/users/nobody?history=65", 400, "bad_request"),
        ("GET", "/v1/users/nobody?history=-1", 400, "bad_request"),
        ("GET", "/v1/users?active=0", 400, "bad_request"),
        ("GET", "/v1/users?active=101", 400, "bad_request"),
        ("GET", "/v1/users?active=one", 400, "bad_request"),
        ("GET", "/v1/users?active=%D9%A1", 400, "bad_request"),
        ("GET", "/v1/users/", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/v1/worker", 405, "method_not_allowed"),
    ]
    answers = worker.ask(*[(method, path) for method, path, _, _ in asked])
    for (_, path, status, code), (got, content, headers) in zip(asked, answers, strict=True):
        error = msgspec.convert(content, ErrorAnswer).error
        assert (got, error.code) == (status, code), path
        assert error.message
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
    assert answers[-1][2]["Allow"] == "GET"


def test_in_a_rebalance_and_for_another_workers_users_there_is_no_answer() -> None:
    worker = AskedWorker(SETTINGS, partitions=[])
    known("u", worker)
    (status, content, _), *_ = worker.ask(("GET", "/v1/users/u"))
    assert (status, content["error"]["code"]) == (503, "owner_unreachable")
    worker.memory.pause()
    (status, content, headers), (_, who, _) = worker.ask(("GET", "/v1/users/u"), ("GET", "/v1/worker"))
    assert (status, content["error"]["code"], headers["Retry-After"]) == (503, "rebalancing", "1")
    assert who["partitions"] == []


def test_what_a_worker_says_of_itself() -> None:
    worker = AskedWorker(SETTINGS)
    known("u", worker)
    known("v", worker)
    who, segments, live, document, active, one = worker.ask(
        ("GET", "/v1/worker"),
        ("GET", "/v1/segments"),
        ("GET", "/v1/live"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/users?active=10"),
        ("GET", "/v1/users"),
    )
    assert msgspec.convert(who[1], WorkerAnswer) == WorkerAnswer(
        "w1", None, "http://127.0.0.1:9600/metrics", [0, 1, 2, 3], True
    )
    assert segments[1] == {"version": None, "segments": []}
    assert live[:2] == (200, "alive\n")
    assert document[1] == openapi()
    assert active[1] == {"users": [{"user_id": "v", "age_ms": 250}, {"user_id": "u", "age_ms": 250}]}
    assert one[1] == {"users": [{"user_id": "v", "age_ms": 250}]}


def test_tokens_are_asked_for_but_not_to_see_whether_it_lives() -> None:
    worker = AskedWorker(SETTINGS.model_copy(update={"api_tokens": SecretStr("secret-1 secret-2")}))
    known("u", worker)
    paths = [("GET", "/v1/users/u"), ("GET", "/v1/worker"), ("GET", "/v1/live"), ("GET", "/openapi.json")]
    answers = worker.ask(*paths)
    assert [status for status, _, _ in answers] == [401, 401, 200, 200]
    assert (answers[0][2]["WWW-Authenticate"], answers[0][1]["error"]["setting"]) == ("Bearer", "NEXTACT_API_TOKENS")
    assert [one[0] for one in worker.ask(*paths, headers={"Authorization": "Bearer secret-2"})] == [200] * 4
    assert [one[0] for one in worker.ask(*paths, headers={"Authorization": "Bearer secret"})] == [403, 403, 200, 200]


def test_a_mistake_of_ours_is_an_answer_too(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = AskedWorker(SETTINGS)
    monkeypatch.setattr(worker.questions, "users", lambda _: 1 / 0)
    (status, content, _), (after, _, _) = worker.ask(("GET", "/v1/users"), ("GET", "/v1/live"))
    assert (status, content["error"]["code"], after) == (500, "internal", 200)
    assert "ZeroDivisionError" in caplog.text


def test_the_access_log_does_not_tell_of_whom(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    worker = AskedWorker(SETTINGS)
    known("u-73", worker)
    worker.ask(("GET", "/v1/users/u-73"), ("GET", "/v1/users?active=7&name=u-73"), ("GET", "/u-73"))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("stream_app.")]
    assert "u-73" not in "".join(said)
    assert any(line.startswith("GET /v1/users/{id}: 200 in ") for line in said)
    assert any(line.startswith("GET other: 404 in ") for line in said)


def test_the_document_is_json_of_what_the_code_says() -> None:
    assert json.loads(json.dumps(openapi())) == openapi()
