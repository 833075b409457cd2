"""What a client makes of a worker's answers, or of what somebody else answers in its place."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.questions.answers import ActiveUser, ActiveUsers
from stream_app.contract.questions.reading import NoAnswerYet, path_part, read_answer
from stream_app.errors import QuestionRefused, TokenRefused, UnknownSubject

USERS = ActiveUsers([ActiveUser("ada", 5)])


def error(code: str, **more: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": "in words", **more}})


def test_an_answer_is_read_with_its_types_and_fields_that_came_later_are_passed_over() -> None:
    assert read_answer(ActiveUsers, 200, msgspec.json.encode(USERS), None) == USERS
    later = b'{"users":[{"user_id":"ada","age_ms":5,"since":1}],"more":[]}'
    assert read_answer(ActiveUsers, 200, later, None) == USERS


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (404, error("unknown_user"), UnknownSubject),
        (404, error("unknown_item"), UnknownSubject),
        (404, error("not_found"), QuestionRefused),
        (401, error("no_token"), TokenRefused),
        (403, b"", TokenRefused),
        (413, error("too_large"), QuestionRefused),
        (429, error("too_many"), NoAnswerYet),
        (503, b"<html>", NoAnswerYet),
        (200, b"", QuestionRefused),
        (204, b"", QuestionRefused),
    ],
)
def test_what_is_not_an_answer_is_an_error_of_its_kind(status: int, content: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        read_answer(ActiveUsers, status, content, "3")
    assert type(raised.value) is kind


def test_an_error_says_what_and_which_setting_helps() -> None:
    with pytest.raises(QuestionRefused, match=r"^400 bad_request: in words \(NEXTACT_HIDDEN\)$"):
        read_answer(ActiveUsers, 400, error("bad_request", setting="NEXTACT_HIDDEN"), None)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), (None, 0.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0)])
def test_the_pause_is_what_the_worker_asks_for(header: str | None, seconds: float) -> None:
    with pytest.raises(NoAnswerYet) as raised:
        read_answer(ActiveUsers, 503, b"", header)
    assert raised.value.retry_after == seconds


@given(st.text(min_size=1).filter(lambda name: name.isascii() or name.encode(errors="replace").decode() == name))
def test_an_id_is_one_part_of_a_path(name: str) -> None:
    part = path_part(name)
    assert unquote(part) == name
    assert not set(part) & set("/?#. ")
