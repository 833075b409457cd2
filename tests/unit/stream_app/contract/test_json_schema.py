"""What the schemas share."""

from __future__ import annotations

import jsonschema
import pytest

from stream_app.contract.json_schema import TIMES, inlined, standalone

RAW = {"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"b": {"$ref": "#/$defs/B"}}}, "B": {"type": "string"}}}


def test_a_schema_stands_alone() -> None:
    schema = standalone("a", RAW, {"b": "What b is."})
    assert schema["properties"] == {"b": {"type": "string", "description": "What b is."}}
    assert schema["$id"] == "urn:nextact:a"
    assert inlined([{"$ref": "#/$defs/B"}, 3], RAW["$defs"]) == [{"type": "string"}, 3]  # type: ignore[arg-type]


@pytest.mark.parametrize("time", ["2026-01-02T03:04:05Z", "2026-01-02t03:04:05.6+05:30", 1.5e12, -1])
def test_times(time: object) -> None:
    jsonschema.validate(time, {"anyOf": list(TIMES)})


@pytest.mark.parametrize("time", ["2026-01-02", "2026-13-02T03:04:05Z", 1e15, "", None])
def test_other_times(time: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(time, {"anyOf": list(TIMES)})
