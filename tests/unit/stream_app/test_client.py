"""What the client asks and how it takes answers, refusals and silence; with a real broker: tests/integration."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.parse import unquote

import pytest

from model.errors import NextactError
from stream_app.client import AsyncClient, Client
from stream_app.contract.questions.answers import RankAnswer, RankedItem
from stream_app.errors import (
    EventRefused,
    QuestionRefused,
    TokenRefused,
    UnknownSubject,
    UsageError,
    WorkerUnreachable,
)
from stream_app.settings import load_settings
from tests.unit.builders.workers import ADA, AskedQuestion, WrittenAnswer, refused, written_worker

FINE = WrittenAnswer(ADA)


def asked_user(*answers: WrittenAnswer, deadline: float = 5.0) -> tuple[Any, list[AskedQuestion]]:
    """What comes of asking for ada: the answer or the error, and what was asked."""
    with written_worker(answers) as (address, asked), Client(workers=address, deadline=deadline) as client:
        try:
            return client.user("ada"), asked
        except NextactError as error:
            return error, asked


def test_an_answer_comes_with_its_types() -> None:
    answer, asked = asked_user(FINE)
    assert answer == ADA
    assert [(one.method, one.path, one.token) for one in asked] == [("GET", "/v1/users/ada", None)]


def test_a_user_may_be_asked_for_with_less_of_their_history() -> None:
    with written_worker([FINE, FINE]) as (address, asked), Client(workers=address) as client:
        client.user("a/b", history=0)
        client.user("ada", history=64)
    assert [one.path for one in asked] == ["/v1/users/a%2Fb?history=0", "/v1/users/ada?history=64"]


@pytest.mark.parametrize(
    ("again", "tries"),
    [
        (refused(503, "rebalancing"), 2),
        (refused(429, "too_many"), 2),
        (WrittenAnswer(status=None), 2),
        (WrittenAnswer(b"a proxy says no", 503), 2),
    ],
)
def test_what_may_go_away_is_asked_again(again: WrittenAnswer, tries: int) -> None:
    answer, asked = asked_user(again, FINE)
    assert (answer, len(asked)) == (ADA, tries)


def test_a_worker_says_when_to_ask_again() -> None:
    begun = time.monotonic()
    answer, asked = asked_user(refused(429, "too_many", **{"Retry-After": "1"}), FINE)
    assert (answer, len(asked)) == (ADA, 2)
    assert time.monotonic() - begun >= 1


def test_one_that_wants_more_time_than_there_is_is_given_up_at_once() -> None:
    begun = time.monotonic()
    error, asked = asked_user(refused(503, "no_version", **{"Retry-After": "60"}))
    assert (type(error), len(asked)) == (WorkerUnreachable, 1)
    assert "503 no_version: in words" in str(error)
    assert time.monotonic() - begun < 4


def test_a_question_ends_with_its_deadline() -> None:
    begun = time.monotonic()
    error, asked = asked_user(refused(503, "rebalancing"), deadline=0.4)
    assert isinstance(error, WorkerUnreachable)
    assert len(asked) > 1
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(404, "unknown_user"), UnknownSubject),
        (refused(404, "not_found"), QuestionRefused),
        (refused(400, "bad_request"), QuestionRefused),
        (refused(401, "no_token"), TokenRefused),
        (refused(403, "wrong_token"), TokenRefused),
        (WrittenAnswer({"user_id": "ada"}), QuestionRefused),
        (WrittenAnswer(b"<html>", 500), QuestionRefused),
    ],
)
def test_what_does_not_go_away_is_an_error_at_once(answer: WrittenAnswer, kind: type[Exception]) -> None:
    error, asked = asked_user(answer)
    assert (type(error), len(asked)) == (kind, 1)
    assert issubclass(kind, UsageError)


def test_another_worker_is_asked_where_one_does_not_answer() -> None:
    with written_worker([FINE]) as (address, _), socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(workers=[gone, address]) as client:
            assert client.user("ada") == ADA


@pytest.mark.parametrize("name", ["a/b", "..", "ünï", "a?b#c", "100%", " "])
def test_any_id_is_one_part_of_the_path(name: str) -> None:
    ranked = WrittenAnswer(RankAnswer("ada", [RankedItem("x", 0.5, True)], 12, "state"))
    with written_worker([FINE, ranked]) as (address, asked), Client(workers=address) as client:
        client.user(name)
        client.rank(name, ["x"])
    first, second = (one.path.split("/") for one in asked)
    assert (len(first), len(second)) == (4, 5)

    assert unquote(first[3]) == name


def test_questions_have_the_bodies_of_the_contract() -> None:
    with written_worker([WrittenAnswer({"error": 1}, 400)]) as (address, asked), Client(workers=address) as client:
        for ask in (
            lambda: client.rank("ada", ["a", "b"]),
            lambda: client.rank_session([{"type": "view", "item_id": "a"}]),
            lambda: client.rank_session([{"type": "view", "item_id": "a"}], ("b",)),
            lambda: client.related("a b", 3),
            client.segments,
            lambda: client.active(7),
            client.worker,
        ):
            with pytest.raises(QuestionRefused):
                ask()
    bodies = [json.loads(one.body) if one.body else None for one in asked]
    events = [{"type": "view", "item_id": "a"}]
    assert bodies[:3] == [{"candidates": ["a", "b"]}, {"events": events}, {"events": events, "candidates": ["b"]}]
    assert bodies[3:] == [None] * 4
    assert [(one.method, one.path) for one in asked[3:]] == [
        ("GET", "/v1/items/a%20b/related?count=3"),
        ("GET", "/v1/segments"),
        ("GET", "/v1/users?active=7"),
        ("GET", "/v1/worker"),
    ]


def test_a_token_is_sent_that_is_given_or_set() -> None:
    settings = load_settings({"api_tokens": "first second"})
    with written_worker([FINE]) as (address, asked):
        for options in ({"token": "own"}, {"settings": settings}, {"token": "", "settings": settings}):
            with Client(workers=address, **options) as client:
                client.user("ada")
    assert [one.token for one in asked] == ["Bearer own", "Bearer first", None]


def test_the_async_client_asks_several_at_once_and_closes() -> None:
    async def ask(address: str) -> list[Any]:
        async with AsyncClient(workers=address) as client:
            return list(await asyncio.gather(*(client.user("ada") for _ in range(20))))

    with written_worker([FINE]) as (address, asked):
        assert asyncio.run(ask(address)) == [ADA] * 20
    assert len(asked) == 20


@pytest.mark.parametrize(
    ("event", "key", "reason"),
    [
        ({"type": "view", "item_id": "a"}, None, "missing_field"),
        ({"user_id": "ada", "type": "view"}, None, "missing_field"),
        ({"user_id": "ada", "type": "dance", "item_id": "a"}, None, "unknown_type"),
        ({"user_id": "ada", "type": "view", "item_id": "a"}, "bob", "key_mismatch"),
        ({"user_id": "ada", "type": "view", "item_id": "a", "price": -1}, None, "invalid_field"),
    ],
)
def test_an_event_that_no_worker_would_take_is_not_published(
    event: dict[str, Any], key: str | None, reason: str
) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(EventRefused, match=reason):
        client.publish(event, key=key)


def test_a_broker_that_does_not_answer_is_named() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(address) as client:
            for attempt in (
                lambda: client.publish({"user_id": "ada", "type": "view", "item_id": "a"}),
                lambda: next(client.subscribe()),
            ):
                with pytest.raises(UsageError, match=address):
                    attempt()


def test_it_imports_nothing_that_takes_seconds() -> None:
    code = "import sys, stream_app.client; print({'torch', 'numba', 'faust', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
