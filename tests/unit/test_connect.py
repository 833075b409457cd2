"""The samples in deploy/connect fit the records of the topic that they read, as far as that shows without Connect."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from stream_app.contract.documents import prediction_schema
from tests.paths import ROOT

CONNECT = ROOT / "deploy" / "connect"
CONFIGURATIONS = sorted(CONNECT.glob("*.json"))
TEXT = "org.apache.kafka.connect.storage.StringConverter"
KAFKAS_OWN = {  # classes that come with Kafka Connect itself, 4.x
    TEXT,
    "org.apache.kafka.connect.json.JsonConverter",
    "org.apache.kafka.connect.transforms.Filter",
    "org.apache.kafka.connect.transforms.HoistField$Value",
    "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
}


def configuration(name: str) -> dict[str, str]:
    content: dict[str, Any] = json.loads((CONNECT / f"{name}.json").read_text(encoding="utf-8"))
    assert content.keys() == {"name", "config"}
    return dict(content["config"])


@pytest.mark.parametrize("name", [path.stem for path in CONFIGURATIONS])
def test_each_reads_the_newest_predictions_as_they_are_written(name: str) -> None:
    found = configuration(name)
    assert all(isinstance(value, str) for value in found.values()), "Connect's values are strings"
    assert found["topics"] == "shop.predictions.latest"
    assert found["key.converter"] == TEXT, "the key is a user id in UTF-8"
    if found["value.converter"] != TEXT:
        assert found["value.converter.schemas.enable"] == "false", "values are JSON without a schema"
    assert found["consumer.override.isolation.level"] == "read_committed", "with exactly-once delivery"
    assert {value for value in found.values() if value.startswith("org.apache.kafka")} <= KAFKAS_OWN


def test_the_transformations_of_jdbc_are_there_and_make_the_columns_of_the_table() -> None:
    found = configuration("jdbc")
    for kind in ("transforms", "predicates"):
        named = set(found[kind].split(","))
        assert {key.split(".")[1] for key in found if key.startswith(f"{kind}.")} == named
    assert found["transforms.drop.predicate"] in found["predicates"].split(",")
    sql = (CONNECT / "postgresql.sql").read_text(encoding="utf-8")
    (table, columns) = re.findall(r"CREATE TABLE (\w+) \((.*?)\n\);", sql, re.S)[0]
    assert table == found["table.name.format"]
    names = re.findall(r"^ +(\w+) text", columns, re.M)
    assert names == [found["pk.fields"], found["transforms.wrap.field"]]
    assert f"{found['pk.fields']} text PRIMARY KEY" in columns
    assert f"SELECT {', '.join([names[0], f'{names[1]}::jsonb'])} AS json FROM {table}" in sql


def test_the_view_names_fields_that_predictions_have() -> None:
    schema = prediction_schema()
    fields = schema["properties"]
    view = (CONNECT / "postgresql.sql").read_text(encoding="utf-8").partition("CREATE VIEW")[2]
    paths = [re.findall(r"->>? (?:'(\w+)'|(\d+))", line) for line in view.splitlines()]
    assert len([path for path in paths if path]) == 8
    kinds = {"bigint": "integer", "integer": "integer", "double precision": "number"}
    for line, path in zip(view.splitlines(), paths, strict=True):
        inside: Any = {"properties": fields}
        for name, _ in path:
            inside = [inside["properties"][name] if name else inside["items"]][0]
            inside = next((each for each in inside.get("anyOf", ()) if each.get("type") != "null"), inside)
        if cast := re.search(r"\)::(\w[\w ]*) AS", line):
            assert inside["type"] == kinds[cast[1]], line
