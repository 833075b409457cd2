"""The OpenAPI document says what the structs say; schemathesis asks a real worker by it in the integration tests."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import msgspec
import pytest

from stream_app.contract.questions.answers import ErrorAnswer, ErrorContent, UserAnswer
from stream_app.contract.questions.openapi import openapi
from stream_app.contract.questions.paths import PATHS, STATUS_OF, errors_of

DOCUMENT = openapi()


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_every_reference_leads_to_a_schema_and_every_schema_is_used() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert references(DOCUMENT) == {f"#/components/schemas/{name}" for name in schemas}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_every_path_is_there_with_its_parameters_and_errors(path: Any) -> None:
    operation = DOCUMENT["paths"][path.path][path.method.lower()]
    assert {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"} == set(
        re.findall(r"{(\w+)}", path.path)
    )
    assert set(operation["responses"]) == {"200", *(str(STATUS_OF[code]) for code in errors_of(path))}
    assert ("401" in operation["responses"]) == bool(operation["security"]) == (not path.is_open)


def test_what_is_answered_is_what_the_document_says() -> None:
    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(schema).validate(msgspec.to_builtins(value))

    check("ErrorAnswer", ErrorAnswer(ErrorContent("too_many", "wait")))
    fields = DOCUMENT["components"]["schemas"]["UserAnswer"]
    assert [*fields["required"], "rules"] == list(UserAnswer.__struct_fields__)
    nullable = DOCUMENT["components"]["schemas"]["CurrentPrediction"]["properties"]["prediction_id"]
    assert nullable == {"anyOf": [{"type": "string"}, {"type": "null"}]}
