"""What can be asked: every path, once, for the listener and for the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from model.data.events import ID_LENGTH
from stream_app.contract.json_schema import Json
from stream_app.contract.questions.answers import (
    MOST_ACTIVE,
    MOST_HISTORY,
    MOST_RELATED,
    ActiveUsers,
    ErrorCode,
    RankAnswer,
    RankQuestion,
    RelatedAnswer,
    SegmentsAnswer,
    SessionAnswer,
    SessionQuestion,
    UserAnswer,
    WorkerAnswer,
)

STATUS_OF: Final[dict[ErrorCode, int]] = {
    "bad_request": 400,
    "no_token": 401,
    "wrong_token": 403,
    "unknown_user": 404,
    "unknown_item": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "too_many": 429,
    "internal": 500,
    "rebalancing": 503,
    "owner_unreachable": 503,
    "no_version": 503,
}
_OF_EVERY_QUESTION: Final[tuple[ErrorCode, ...]] = ("bad_request", "no_token", "wrong_token", "too_many")
_OF_OWNERS: Final[tuple[ErrorCode, ...]] = ("rebalancing", "owner_unreachable")

Name = Literal["user", "rank", "session", "related", "users", "worker", "segments", "live", "openapi"]


@dataclass(frozen=True, slots=True)
class Path:
    """A question: its path, what may be given with it, and what comes back."""

    name: Name  # also of the method that answers it
    method: Literal["GET", "POST"]
    path: str
    summary: str
    answer: Any  # a struct; None: text or a document
    errors: tuple[ErrorCode, ...] = ()
    parameters: tuple[Json, ...] = ()
    body: Any = None  # a struct
    is_open: bool = False  # whether it is answered without a token


def _parameter(name: str, place: str, description: str, schema: Json, **others: Any) -> Json:
    return {"name": name, "in": place, "description": description, "schema": schema} | others


_ID: Final = {"type": "string", "minLength": 1, "maxLength": ID_LENGTH}
_RELATED: Final = {"type": "integer", "minimum": 1, "maximum": MOST_RELATED, "default": 20}
_HISTORY: Final = {"type": "integer", "minimum": 0, "maximum": MOST_HISTORY, "default": MOST_HISTORY}
_FLAG: Final = {"type": "boolean", "default": False}
_ACTIVE: Final = {"type": "integer", "minimum": 1, "maximum": MOST_ACTIVE, "default": 1}
_USER_ID: Final = _parameter("id", "path", "The user's id, percent-encoded.", _ID, required=True)

PATHS: Final = (
    Path(
        "user",
        "GET",
        "/v1/users/{id}",
        "What a user will do next, what they like and did: the newest prediction that was published, or one from their "
        "state.",
        UserAnswer,
        ("unknown_user", *_OF_OWNERS),
        (
            _USER_ID,
            _parameter("rules", "query", "Whether to say what the rules that learn live would recommend, too.", _FLAG),
            _parameter(
                "history", "query", "Of how many actions to tell, at most, the newest; none costs least.", _HISTORY
            ),
        ),
    ),
    Path(
        "rank",
        "POST",
        "/v1/users/{id}/rank",
        "How well items fit a user now, the best first: scored from their present state, on the scale of "
        "recommendations.",
        RankAnswer,
        ("unknown_user", *_OF_OWNERS),
        (_USER_ID,),
        RankQuestion,
    ),
    Path(
        "session",
        "POST",
        "/v1/rank",
        "What comes next for somebody who is not known, by the events of their session, and how well items fit them. "
        "Nothing of it is stored.",
        SessionAnswer,
        ("no_version",),
        body=SessionQuestion,
    ),
    Path(
        "related",
        "GET",
        "/v1/items/{id}/related",
        "What goes with an item: its share of what users did right before and after that item, to which every item "
        "adds its cosine in the network's vectors, as if one more action had gone to all.",
        RelatedAnswer,
        ("unknown_item", "no_version"),
        (
            _parameter("id", "path", "The item's id, percent-encoded.", _ID, required=True),
            _parameter("count", "query", "How many, at most.", _RELATED),
        ),
    ),
    Path(
        "users",
        "GET",
        "/v1/users",
        "The users whom this worker answered last, the newest first.",
        ActiveUsers,
        (),
        (_parameter("active", "query", "How many, at most.", _ACTIVE),),
    ),
    Path("worker", "GET", "/v1/worker", "Who answers here.", WorkerAnswer),
    Path("segments", "GET", "/v1/segments", "The groups of users by the version that serves.", SegmentsAnswer),
    Path("live", "GET", "/v1/live", "Whether questions are answered here at all.", None, is_open=True),
    Path("openapi", "GET", "/openapi.json", "This document.", None, is_open=True),
)


def errors_of(path: Path) -> tuple[ErrorCode, ...]:
    """Returns the errors that a question may have."""
    every = ("bad_request", "too_many") if path.is_open else _OF_EVERY_QUESTION
    return (*every, *path.errors, *(("too_large",) if path.body else ()))
