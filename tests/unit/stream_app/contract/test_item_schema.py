"""The schema of items is valid and describes every field; `test_items` holds it and the code together."""

from __future__ import annotations

import jsonschema

from stream_app.contract.item_schema import item_schema
from stream_app.contract.items import ItemRecord


def test_the_schema_is_valid_and_describes_every_field() -> None:
    schema = item_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    assert set(schema["properties"]) == set(ItemRecord.__struct_fields__)
    assert all(field["description"] for field in schema["properties"].values())
