"""The prediction record, as subscribers decode it."""

from __future__ import annotations

from typing import Final

import msgspec

from model.data.event_time import Flag


class NextAction(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A possible next action; a search has no item."""

    type: str
    probability: float
    item_id: str | None = None


class Recommendation(msgspec.Struct, frozen=True, gc=False):
    """An item worth showing."""

    item_id: str
    score: float


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where the event lies that a prediction follows."""

    partition: int
    offset: int


class NamedShare(msgspec.Struct, frozen=True, gc=False):
    """How much of what a user is interested in falls to a category or a brand."""

    name: str
    share: float


class PriceBand(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Between which prices a user buys; None: without a bound."""

    low: float | None = None
    high: float | None = None
    currency: str | None = None


class Preferences(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a user likes, the largest shares first."""

    categories: list[NamedShare] = []
    brands: list[NamedShare] = []
    price_band: PriceBand | None = None


class Segment(msgspec.Struct, frozen=True, gc=False):
    """The group of users that a user is most like."""

    id: int
    name: str
    fit: float  # 0 to 1: how typical the user is of it


class Because(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Something that a user did, or that others do, for which an item is recommended."""

    code: str
    weight: float  # 0 to 1; those of an item add up to 1 at most
    item_id: str | None = None
    query: str | None = None
    category: str | None = None


class Reason(msgspec.Struct, frozen=True):
    """Why an item is recommended, the weightiest first."""

    item_id: str
    because: list[Because]


class Prediction(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a user will do next, as published to the predictions topic."""

    prediction_id: str
    user_id: str
    event_id: str | None
    event_type: str
    event_timestamp: int  # milliseconds since the epoch
    source: Source
    model_version: str
    history_length: int
    event_time_flag: Flag | None = None
    next_type: dict[str, float]
    next_actions: list[NextAction]
    recommendations: list[Recommendation]
    purchase_probability: float
    # The profile of the user, as far as NEXTACT_PROFILE has it computed and the version says something of it.
    leave_probability: float | None = None  # that no action follows within 30 minutes
    return_probability: float | None = None  # that another visit follows within 7 days of this one's end
    preferences: Preferences | None = None
    segment: Segment | None = None
    reasons: list[Reason] | None = None


_PREDICTION_DECODER: Final = msgspec.json.Decoder(Prediction)


def decode_prediction(value: bytes) -> Prediction:
    """Decodes a published prediction; raises `msgspec.DecodeError` for anything else."""
    try:
        return _PREDICTION_DECODER.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
