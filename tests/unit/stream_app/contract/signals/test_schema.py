"""The schema of signals takes what is told, and describes every field."""

from __future__ import annotations

import json

import jsonschema
import pytest

from stream_app.contract.documents import asyncapi
from stream_app.contract.signals.schema import signal_schema
from stream_app.contract.signals.signal import (
    Signal,
    SignalItem,
    SignalVisit,
    encode_signal,
    signal_id,
    signal_namespace,
)
from stream_app.settings import Settings

SCHEMA = signal_schema()
CHECK = jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
TOLD = Signal(
    signal_id=signal_id(signal_namespace(1, "shop.events"), 0, "u", "cart_abandoned/1"),
    kind="cart_abandoned",
    user_id="u",
    timestamp=9,
    measured_by="stream",
    visit=SignalVisit(1, 2, 3, 4),
    items=[SignalItem("a")],
)


def test_what_is_told_fits_and_every_field_is_described() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]) == set(Signal.__struct_fields__)
    assert all("description" in field for field in SCHEMA["properties"].values())
    told = json.loads(encode_signal(TOLD))
    CHECK.validate(told)
    CHECK.validate(told | {"later": 1})
    for wrong in ({"kind": "sunrise"}, {"measured_by": "sundial"}, {"signal_id": 7}):
        with pytest.raises(jsonschema.ValidationError):
            CHECK.validate(told | wrong)


def test_the_topic_is_documented_where_there_is_one() -> None:
    settings = Settings.model_construct()
    assert "signals" not in asyncapi(settings)["channels"]
    document = asyncapi(settings.model_copy(update={"signals_topic": "shop.signals"}))
    assert document["channels"]["signals"]["address"] == "shop.signals"
    assert document["operations"]["publishSignal"]["channel"] == {"$ref": "#/channels/signals"}
    assert document["components"]["messages"]["signal"]["payload"]["schema"] == {"$ref": "signal.schema.json"}
