"""What a worker's API answers, as far as the page reads it. Fields that it does not know are left out."""

from __future__ import annotations

import msgspec

from stream_app.contract.predictions import Prediction


class AnsweredPrediction(Prediction, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A prediction; one that was made for the question alone has no id."""

    prediction_id: str | None = None  # type: ignore[assignment]


class PastAction(msgspec.Struct, frozen=True):
    """Something that a user did."""

    type: str
    seconds_before: float | None = None  # so long before their last action
    item_id: str | None = None
    title: str | None = None
    category: str | None = None
    query: str | None = None


class UserAnswer(msgspec.Struct, frozen=True):
    """What is known of a user."""

    user_id: str
    prediction: AnsweredPrediction
    age_ms: int
    source: str  # published, or state
    titles: dict[str, str] = {}  # by item id
    history: list[PastAction] = []  # newest first
    partition: int | None = None
    worker: str = ""
    rules: list[str] | None = None  # what the rules that learn live would have recommended


class ActiveUser(msgspec.Struct, frozen=True):
    """A user who was answered a short while ago."""

    user_id: str
    age_ms: int


class ActiveUsers(msgspec.Struct, frozen=True):
    """Users who were answered last, newest first."""

    users: list[ActiveUser]


class WorkerAbout(msgspec.Struct, frozen=True):
    """What a worker says of itself."""

    worker: str
    metrics: str  # address
    version: str | None = None
    partitions: list[int] = []
    ready: bool = False


class Problem(msgspec.Struct, frozen=True):
    """Why a question has no answer."""

    code: str
    message: str
    setting: str | None = None


class Refusal(msgspec.Struct, frozen=True):
    """The body of an answer that is an error."""

    error: Problem
