"""Predictions as a subscriber reads them: any bytes are a prediction or `msgspec.DecodeError`, and can be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stream_app.cli.watch import shown
from stream_app.contract.predictions import NextAction, Prediction, Recommendation, Source, decode_prediction


def check(data: bytes) -> None:
    """Decodes a prediction, and encodes it again."""
    assert shown(data, str).isprintable()
    try:
        prediction = decode_prediction(data)
    except msgspec.DecodeError:
        return
    assert decode_prediction(msgspec.json.encode(prediction)) == prediction


def seeds() -> list[bytes]:
    """Returns predictions and what is none."""
    prediction = Prediction(
        prediction_id="00000000-0000-5000-8000-000000000000",
        user_id="u",
        event_id="e",
        event_type="view",
        event_timestamp=1_700_000_000_000,
        source=Source(3, 5),
        model_version="v1",
        history_length=1,
        event_time_flag="late",
        next_type={"view": 0.5, "search": 0.5},
        next_actions=[NextAction("view", 0.25, "i"), NextAction("search", 0.125)],
        recommendations=[Recommendation("i", 0.25)],
        purchase_probability=0.5,
    )
    small = msgspec.structs.replace(prediction, next_actions=[], recommendations=[], event_time_flag=None)
    return [*map(msgspec.json.encode, (prediction, small)), b"", b"{}", b"\xff", b'{"user_id":"\xff"}', b"[" * 2000]


TOKENS: Final[Sequence[bytes]] = [
    *(f'"{name}":'.encode() for name in Prediction.__struct_fields__),
    b"null", b"1e308", b"1e400", b'"\xff"', b'"\\ud800"',
]  # fmt: skip
