"""What the JSON Schemas of the contract share; draft 07, the newest that AsyncAPI asks every tool to read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from stream_app.contract.event_fields import YEAR_10000_MS

Json = dict[str, Any]

LARGEST: Final = sys.float_info.max  # beyond it a double is infinite
DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_RFC3339: Final = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
TIMES: Final[tuple[Json, ...]] = (
    {"type": "string", "format": "date-time", "pattern": _RFC3339},
    {"type": "number", "exclusiveMinimum": -YEAR_10000_MS, "exclusiveMaximum": YEAR_10000_MS},
)


def standalone(name: str, raw: Json, descriptions: Mapping[str, str]) -> Json:
    """Returns a document of a schema that msgspec has made, as `described` does."""
    return {"$schema": DRAFT, "$id": f"urn:nextact:{name}"} | described(raw, descriptions)


def described(raw: Json, descriptions: Mapping[str, str]) -> Json:
    """Returns a schema that msgspec has made, with its references resolved and each field described."""
    schema: Json = inlined({"$ref": raw["$ref"]}, raw["$defs"])
    for field, text in descriptions.items():
        schema["properties"][field]["description"] = text
    return schema


def inlined(node: Any, definitions: Json) -> Any:
    """Returns a part of a schema with its references resolved."""
    if isinstance(node, list):
        return [inlined(child, definitions) for child in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return inlined(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {key: inlined(child, definitions) for key, child in node.items()}
