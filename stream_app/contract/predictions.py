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


_PREDICTION_DECODER: Final = msgspec.json.Decoder(Prediction)


def decode_prediction(value: bytes) -> Prediction:
    """Decodes a published prediction; raises `msgspec.DecodeError` for anything else."""
    try:
        return _PREDICTION_DECODER.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
