"""The documents in deploy/contract are what the code writes, and accept exactly the events that the code accepts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from model.data.events import EVENT_TYPES, Event
from model.serving.answers import Answers
from stream_app.cli.main import cli
from stream_app.contract.dead_letters import dead_letter, read_dead_letter, replay_record
from stream_app.contract.decoded import RejectedRecord, Rejection
from stream_app.contract.documents import asyncapi, documents, event_schema, prediction_schema, schemas
from stream_app.contract.events import TYPE_NAMES, decode_event
from stream_app.contract.item_schema import item_schema
from stream_app.contract.prediction_json import PredictionEncoder, SourceEvents
from stream_app.contract.predictions import Prediction
from stream_app.contract.records import UnreadableBatch
from stream_app.settings import PREFIX, Settings
from tests.paths import ROOT
from tests.unit.builders.basics import make_record

CONTRACT = ROOT / "deploy" / "contract"
DEFAULTS = Settings.model_construct()  # not from the environment
REMEDY = "run `nextact schema --write deploy/contract`"

EVENT = jsonschema.Draft7Validator(event_schema())
PREDICTION = jsonschema.Draft7Validator(prediction_schema())

CLICK = {"user_id": "ada", "type": "click", "item_id": "shoe-7"}
SEARCH = {"user_id": "ada", "type": "search", "query": "red shoes"}
ACCEPTED: dict[str, dict[str, Any]] = {
    "a click": CLICK,
    "a search": SEARCH,
    "a search of nothing": SEARCH | {"query": ""},
    "a search that names an item": SEARCH | {"item_id": "shoe-7"},
    "GA4": CLICK | {"type": "add_to_cart"},
    "Segment": CLICK | {"type": "Order Completed"},
    "Segment's search": SEARCH | {"type": "Products Searched"},
    "capitals": CLICK | {"type": "CLICK"},
    "unknown fields": CLICK | {"page": {"url": "/"}, "ratings": [1, None]},
    "the longest id": CLICK | {"item_id": "é" * 256},
    "RFC 3339": CLICK | {"timestamp": "2026-01-02T03:04:05.678901+05:30"},
    "RFC 3339, small letters": CLICK | {"timestamp": "2026-01-02t03:04:05z"},
    "milliseconds": CLICK | {"timestamp": 1_767_323_045_678},
    "milliseconds, a fraction": CLICK | {"timestamp": 1_767_323_045_678.5},
    "before 1970": CLICK | {"timestamp": -1},
    "nulls": CLICK | dict.fromkeys(("query", "timestamp", "event_id", "category", "brand", "price", "quantity")),
    "free": CLICK | {"price": 0},
    "a basket": {
        "user_id": "ada",
        "type": "purchase",
        "items": [{"item_id": "a", "price": 1, "x": 2}, {"item_id": "b"}],
    },
    "a basket beside an item": CLICK | {"items": [{"item_id": "a"}]},
    "an empty basket beside an item": CLICK | {"items": []},
    "a search with items": SEARCH | {"items": [{"item_id": "a"}]},
    "returned": CLICK | {"type": "purchase", "price": 89.9, "quantity": -1, "currency": "EUR"},
}
REFUSED: dict[str, dict[str, Any]] = {
    "no user": {"type": "click", "item_id": "shoe-7"},
    "no type": {"user_id": "ada", "item_id": "shoe-7"},
    "no item": {"user_id": "ada", "type": "click"},
    "a null for the item": CLICK | {"item_id": None},
    "a query instead of the item": CLICK | {"item_id": None, "query": "red shoes"},
    "no query": {"user_id": "ada", "type": "search"},
    "no query, by another name": {"user_id": "ada", "type": "view_search_results", "item_id": "shoe-7"},
    "a null for the query": SEARCH | {"query": None},
    "an empty user": CLICK | {"user_id": ""},
    "an id too long": CLICK | {"item_id": "x" * 257},
    "a number for the user": CLICK | {"user_id": 7},
    "a number for the item": CLICK | {"item_id": 7},
    "a type nobody knows": CLICK | {"type": "gaze"},
    "a type with a space": CLICK | {"type": "click "},
    "no offset from UTC": CLICK | {"timestamp": "2026-01-02T03:04:05"},
    "a thirteenth month": CLICK | {"timestamp": "2026-13-02T03:04:05Z"},
    "a word for a time": CLICK | {"timestamp": "yesterday"},
    "after the year 9999": CLICK | {"timestamp": 253_402_300_800_000},
    "a negative price": CLICK | {"price": -0.01},
    "a text for the price": CLICK | {"price": "89.90"},
    "a boolean for the quantity": CLICK | {"quantity": True},
    "an empty basket": {"user_id": "ada", "type": "purchase", "items": []},
    "a line without an item": CLICK | {"items": [{"price": 1}]},
    "a text in the basket": CLICK | {"items": ["shoe-7"]},
    "a negative price in the basket": CLICK | {"items": [{"item_id": "a", "price": -1}]},
    "a list for the category": CLICK | {"category": ["running"]},
}


def accepted(event: dict[str, Any]) -> bool:
    """Returns whether the code accepts the event, given the right record key."""
    user = event.get("user_id")
    try:
        decode_event(user.encode() if isinstance(user, str) else b"key", json.dumps(event).encode(), 0)
    except RejectedRecord:
        return False
    return True


@pytest.mark.parametrize("name", documents(DEFAULTS))
def test_the_files_are_what_the_code_writes(name: str) -> None:
    assert (CONTRACT / name).read_text(encoding="utf-8") == documents(DEFAULTS)[name], REMEDY


def test_no_other_file_lies_beside_them() -> None:
    assert {path.name for path in CONTRACT.iterdir()} == set(documents(DEFAULTS)), REMEDY


@pytest.mark.parametrize("schema", [event_schema(), prediction_schema()], ids=["event", "prediction"])
def test_the_schemas_are_valid_and_describe_every_field(schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator.check_schema(schema)
    assert all("description" in field for field in schema["properties"].values())


def test_schemas_name_every_field_and_type() -> None:
    made = schemas()
    event = made["event"]["$defs"]["Event"]
    assert set(event["properties"]) == set(Event.__struct_fields__)
    assert event["required"] == ["user_id", "type"]
    assert set(EVENT_TYPES) <= set(event["properties"]["type"]["enum"])
    assert set(made["prediction"]["$defs"]["Prediction"]["properties"]) == set(Prediction.__struct_fields__)


@pytest.mark.parametrize("event", ACCEPTED.values(), ids=ACCEPTED)
def test_events_that_are_accepted(event: dict[str, Any]) -> None:
    EVENT.validate(event)
    assert accepted(event)


@pytest.mark.parametrize("event", REFUSED.values(), ids=REFUSED)
def test_events_that_are_refused(event: dict[str, Any]) -> None:
    assert not EVENT.is_valid(event)
    assert not accepted(event)


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
@pytest.mark.parametrize("field", ["price", "quantity"])
def test_numbers_must_be_finite(field: str, number: str) -> None:
    text = json.dumps(CLICK)[:-1] + f', "{field}": {number}}}'
    assert not EVENT.is_valid(json.loads(text))
    with pytest.raises(RejectedRecord):
        decode_event(b"ada", text.encode(), 0)


@pytest.mark.parametrize("name", TYPE_NAMES)
def test_every_name_of_a_type_is_in_the_schema(name: str) -> None:
    for spelled in (name, name.upper(), name.title()):
        EVENT.validate(CLICK | SEARCH | {"type": spelled})


TEXTS = st.none() | st.text("ab é", max_size=3) | st.sampled_from(["x" * 256, "x" * 257])
NUMBERS = st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
OTHERS = st.sampled_from([True, [], {}, 1, "text"])
TIMES = st.sampled_from(["2026-01-02T03:04:05Z", "2026-01-02T03:04:05-08:00", "2026-01-02T03:04:61Z", "2026-01-02", ""])
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "user_id": TEXTS | OTHERS,
        "type": st.sampled_from([*TYPE_NAMES, "Search", "Product Viewed", "gaze"]) | OTHERS,
        "item_id": TEXTS | OTHERS,
        "query": TEXTS | OTHERS,
        "timestamp": TIMES | NUMBERS | OTHERS,
        "price": NUMBERS | OTHERS,
        "quantity": NUMBERS | OTHERS,
        "session_id": TEXTS | OTHERS,
        "items": st.lists(
            st.fixed_dictionaries({}, optional={"item_id": TEXTS, "price": NUMBERS}) | OTHERS, max_size=2
        ),
        "unknown": TEXTS | OTHERS,
    },
)


@given(EVENTS | EVENTS.map(lambda event: CLICK | event) | EVENTS.map(lambda event: SEARCH | event))
def test_the_schema_and_the_code_say_the_same(event: dict[str, Any]) -> None:
    assert EVENT.is_valid(event) == accepted(event)


@given(st.datetimes().map(lambda moment: moment.isoformat() + "Z"))
def test_times_that_the_schema_takes_are_accepted(timestamp: str) -> None:
    """The code reads more of ISO 8601 than the contract promises, so this holds one way only."""
    EVENT.validate(CLICK | {"timestamp": timestamp})
    assert accepted(CLICK | {"timestamp": timestamp})


def published() -> Any:
    """Returns a prediction as the pipeline writes it."""
    types = np.full((1, len(EVENT_TYPES)), 1 / len(EVENT_TYPES), np.float32)
    answers = Answers(
        version="baseline",
        names=["shoe-7"],
        items=np.array([[0, -1]]),
        probabilities=np.array([[0.3, 0]], np.float32),
        next_type=types,
        type_given_item=np.stack((types, np.zeros_like(types)), 1),
        purchase=np.array([0.006], np.float32),
    )
    events = SourceEvents(
        users=["ada"],
        event_ids=[None],
        types=np.array([EVENT_TYPES.index("view")], np.uint8),
        times=np.array([1_795_463_133_131]),
        verdicts=np.zeros(1, np.uint8),
        partitions=np.array([2]),
        offsets=np.array([2899]),
        positions=np.array([2899]),
        history_lengths=np.array([8]),
    )
    encoder = PredictionEncoder(epoch=1, topic="shop.events", recommendations=2, actions=2)
    return json.loads(encoder.encode(events, answers).text.tobytes())


def test_published_predictions_match_the_schema() -> None:
    prediction = published()
    assert ["item_id" in action for action in prediction["next_actions"]] == [False, True]
    assert prediction["recommendations"]
    PREDICTION.validate(prediction)


@pytest.mark.parametrize(
    "change",
    [
        {"prediction_id": None},
        {"event_type": "gaze"},
        {"history_length": 0},
        {"purchase_probability": 1.1},
        {"next_type": {"gaze": 0.5}},
        {"next_type": {"click": -0.1}},
        {"next_actions": [{"type": "click", "item_id": "shoe-7"}]},
        {"recommendations": [{"score": 0.3}]},
        {"source": {"partition": 2}},
    ],
    ids=str,
)
def test_the_schema_refuses_other_predictions(change: dict[str, Any]) -> None:
    assert not PREDICTION.is_valid(published() | change)


def test_fields_that_come_later_do_not_break_subscribers() -> None:
    PREDICTION.validate(published() | {"segment": {"id": 3}})


def test_asyncapi_is_yaml_and_refers_to_what_exists() -> None:
    document = yaml.safe_load(documents(DEFAULTS)["asyncapi.yaml"])
    assert document == asyncapi(DEFAULTS)
    for reference in references(document):
        name, _, path = reference.partition("#/")
        assert name in documents(DEFAULTS) if name else at(document, path) is not None, reference


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [reference for child in node.values() for reference in references(child)]
    return [reference for child in node for reference in references(child)] if isinstance(node, list) else []


def at(document: Any, path: str) -> Any:
    for key in path.split("/"):
        document = document[key]
    return document


def test_asyncapi_examples_are_events() -> None:
    examples = asyncapi(DEFAULTS)["components"]["messages"]["event"]["examples"]
    for example in examples:
        EVENT.validate(example["payload"])
        assert accepted(example["payload"])
    assert {example["payload"]["type"] for example in examples} > {"search"}
    assert set(examples[0]["payload"]) <= set(Event.__struct_fields__)


SELDOM = {
    f"nextact.error.{name}"
    for name in ("first_offset", "value_bytes", "value_sha256", "key_bytes", "key_sha256", "headers_left_out")
}


def test_headers_that_are_seldom_written_are_known_too() -> None:
    schema = asyncapi(DEFAULTS)["components"]["messages"]["deadLetter"]["headers"]
    large = replace(make_record(bytes(900), key=b"k" * 900), headers=(("trace", bytes(900)),))
    rejection = Rejection(0, "too_large", "why")
    unreadable = UnreadableBatch(**vars(large), first_offset=-3)
    letters = [dead_letter(record, rejection, 1500) for record in (large, unreadable)]
    added = [{name: (value or b"").decode() for name, value in letter.headers} for letter in letters]
    assert set(added[0]) | set(added[1]) >= SELDOM
    for headers in added:
        assert set(headers) <= set(schema["properties"])
        jsonschema.Draft7Validator(schema).validate(headers)


def test_headers_are_those_that_are_written() -> None:
    record = make_record(b"{", key=b"ada")
    first = dead_letter(record, Rejection(0, "not_json", "why"))
    again = replay_record(read_dead_letter(replace(record, headers=first.headers)))
    second = dead_letter(replace(record, headers=again.headers), Rejection(0, "not_json", "why"))
    for message, sent in (("event", again), ("deadLetter", second)):
        schema = asyncapi(DEFAULTS)["components"]["messages"][message]["headers"]
        added = {name: (value or b"").decode() for name, value in sent.headers if (name, value) not in record.headers}
        assert set(added) == set(schema["properties"]) - SELDOM
        jsonschema.Draft7Validator(schema).validate(added)


def test_the_command_writes_what_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}EVENTS_TOPIC", "mall.events")
    done = CliRunner().invoke(cli, ["schema", "--write", str(tmp_path / "new")], catch_exceptions=False)
    assert done.exit_code == 0
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "new").iterdir()}
    assert written == documents(DEFAULTS.model_copy(update={"events_topic": "mall.events"}))
    assert "mall.events" in written["asyncapi.yaml"]


def test_the_command_prints_all_schemas() -> None:
    done = CliRunner().invoke(cli, ["schema"], catch_exceptions=False)
    wanted = {"event": event_schema(), "item": item_schema(), "prediction": prediction_schema()}
    assert msgspec.json.decode(done.stdout) == wanted
