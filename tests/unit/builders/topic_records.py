"""What tests put on topics: a prediction, and records as the fault suite's oracles read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream_app.contract.predictions import NextAction, Prediction, Recommendation, Source


@dataclass(frozen=True)
class LoggedRecord:
    """A record as an oracle reads it."""

    partition: int
    offset: int
    key: Any
    value: Any
    headers: Any = ()
    timestamp: int = 5


def make_prediction(actions: Sequence[NextAction] = (), items: int = 0) -> Prediction:
    """Returns a prediction for ada, with so many recommendations i0, i1, …"""
    return Prediction(
        prediction_id="p",
        user_id="ada",
        event_id=None,
        event_type="view",
        event_timestamp=0,
        source=Source(0, 0),
        model_version="v1",
        history_length=12,
        next_type={},
        next_actions=list(actions),
        recommendations=[Recommendation(f"i{number}", 0.5) for number in range(items)],
        purchase_probability=0.123,
    )
