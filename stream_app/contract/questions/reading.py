"""Reads what a worker answers to a question, as a client does."""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from stream_app.contract.questions.answers import ErrorAnswer
from stream_app.errors import QuestionRefused, TokenRefused, UnknownSubject

T = TypeVar("T")

_LATER: Final = (429, 503)  # statuses: too many questions, nobody can answer now


class NoAnswerYet(Exception):
    """A worker does not answer now; it may a little later."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


def path_part(name: str) -> str:
    """Returns an id as one part of a path, of which no server makes another."""
    return quote(name, safe="").replace(".", "%2E")


def read_answer(answer: type[T], status: int, content: bytes, retry_after: str | None) -> T:
    """Returns an answer. Raises `NoAnswerYet` for what may go away by itself, `QuestionRefused` for what does not.

    `retry_after`: the header of this name.
    """
    if status != 200:
        raise _refusal(status, content, retry_after or "")
    try:
        return msgspec.json.decode(content, type=answer)
    except msgspec.DecodeError as error:
        raise QuestionRefused(f"this is not what a worker answers: {error}") from error


def _refusal(status: int, content: bytes, retry_after: str) -> Exception:
    try:
        error = msgspec.json.decode(content, type=ErrorAnswer).error
        code, text = str(error.code), error.message + (f" ({error.setting})" if error.setting else "")
    except msgspec.DecodeError:
        code, text = "", content[:200].decode(errors="replace")
    message = f"{status} {code}: {text}".replace(" :", ":")
    if status in _LATER:
        return NoAnswerYet(message, float(retry_after) if retry_after.isdecimal() else 0.0)
    if code in ("unknown_user", "unknown_item"):
        return UnknownSubject(message)
    return (TokenRefused if status in (401, 403) else QuestionRefused)(message)
