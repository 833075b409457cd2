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

from model.data.events import EVENT_TYPES
from model.serving.answers import Answers
from stream_app.cli.main import cli
from stream_app.contract.dead_letters import dead_letter, read_dead_letter, replay_record
from stream_app.contract.decoded import Rejection
from stream_app.contract.documents import asyncapi, documents, prediction_schema
from stream_app.contract.event_schema import EVENT_EXAMPLES, event_schema
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

PREDICTION = jsonschema.Draft7Validator(prediction_schema())


@pytest.mark.parametrize("name", documents(DEFAULTS))
def test_the_files_are_what_the_code_writes(name: str) -> None:
    assert (CONTRACT / name).read_text(encoding="utf-8") == documents(DEFAULTS)[name], REMEDY


def test_no_other_file_lies_beside_them() -> None:
    assert {path.name for path in CONTRACT.iterdir()} == set(documents(DEFAULTS)), REMEDY


def test_the_predictions_schema_is_valid_and_describes_every_field() -> None:
    schema = prediction_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    assert all("description" in field for field in schema["properties"].values())
    assert set(schema["properties"]) == set(Prediction.__struct_fields__)


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
    PREDICTION.validate(published() | {"mood": {"id": 3}})


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


def test_asyncapi_shows_the_examples_of_events() -> None:
    examples = asyncapi(DEFAULTS)["components"]["messages"]["event"]["examples"]
    assert [example["payload"] for example in examples] == list(EVENT_EXAMPLES)


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
