"""The questions' bodies and the answers to them, as a client encodes and decodes them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from model.data.events import ID_LENGTH
from stream_app.contract.predictions import Prediction

MOST_CANDIDATES: Final = 1000  # items of one question
MOST_EVENTS: Final = 64  # of a session that is asked about
MOST_HISTORY: Final = 64  # actions of a user in one answer
MOST_ACTIVE: Final = 100  # users of one answer
MOST_RELATED: Final = 100  # items of one answer

ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]
Candidates = Annotated[list[ItemId], msgspec.Meta(min_length=1, max_length=MOST_CANDIDATES)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0)]
AnswerSource = Literal["published", "state"]
ErrorCode = Literal[
    "bad_request",
    "no_token",
    "wrong_token",
    "unknown_user",
    "unknown_item",
    "not_found",
    "method_not_allowed",
    "too_large",
    "too_many",
    "internal",
    "rebalancing",
    "owner_unreachable",
    "no_version",
]


class CurrentPrediction(Prediction, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A prediction as it was published, or as it would be published now."""

    prediction_id: str | None  # type: ignore[assignment]  # None: it was made for this question, from the state


class PastAction(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that the user did."""

    type: str
    item_id: str | None = None
    title: str | None = None
    category: str | None = None
    query: str | None = None
    seconds_before: float | None = None  # about so long before the user's last action


class UserAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a user now."""

    user_id: str
    prediction: CurrentPrediction
    titles: dict[str, str]  # by item id, of the items that the prediction names and the catalogue knows
    history: list[PastAction]  # the newest first
    source: AnswerSource
    age_ms: Milliseconds  # since the last event that the answer knows of
    partition: int
    worker: str
    rules: list[str] | None = None  # what the rules that learn live would recommend; only where that was asked for


class RankQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Items to put in the order in which to show them to a user."""

    candidates: Candidates


class RankedItem(msgspec.Struct, frozen=True):
    """A candidate and how well it fits."""

    item_id: str
    score: float
    known: bool  # whether the version knows the item


class RankAnswer(msgspec.Struct, frozen=True):
    """All candidates, the best first."""

    user_id: str
    items: list[RankedItem]
    age_ms: Milliseconds
    source: AnswerSource


class SessionQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody did who is not known, the oldest first, in nextact's own format without `user_id`."""

    events: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=MOST_EVENTS)]
    candidates: Candidates | None = None


class SessionAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What comes next for them; nothing of it is stored."""

    prediction: CurrentPrediction
    items: list[RankedItem] | None = None  # the candidates, the best first


class RelatedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item that goes with another one."""

    item_id: str
    score: float
    title: str | None = None


class RelatedAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes with an item, the best first."""

    item_id: str
    related: list[RelatedItem]
    title: str | None = None


class SegmentCount(msgspec.Struct, frozen=True):
    """A group of users, and how many of this worker's users in memory are in it."""

    id: int
    name: str
    users: int


class SegmentsAnswer(msgspec.Struct, frozen=True):
    """The groups of users by the version that serves."""

    version: str | None  # None: the rules serve, which know no groups
    segments: list[SegmentCount]


class ActiveUser(msgspec.Struct, frozen=True):
    """A user, and how long ago their last event was."""

    user_id: str
    age_ms: Milliseconds


class ActiveUsers(msgspec.Struct, frozen=True):
    """The users whom this worker answered last, the newest first."""

    users: list[ActiveUser]


class WorkerAnswer(msgspec.Struct, frozen=True):
    """Who answers here."""

    worker: str
    version: str | None  # that serves; None: the rules do
    metrics: str  # where its metrics are
    partitions: list[int]  # whose users it answers; none in a rebalance
    ready: bool


class ErrorContent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why there is no answer."""

    code: ErrorCode
    message: str
    setting: str | None = None  # that would help


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What comes instead of an answer."""

    error: ErrorContent
