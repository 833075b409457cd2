"""Writes the OpenAPI document of the questions, from the structs that questions and answers are read and written by."""

from __future__ import annotations

from collections import defaultdict
from importlib.metadata import version
from typing import Any, Final

import msgspec

from stream_app.contract.json_schema import Json
from stream_app.contract.questions.answers import ErrorAnswer
from stream_app.contract.questions.paths import PATHS, STATUS_OF, Path, errors_of

_REFERENCE: Final = "#/components/schemas/{name}"
_TEXT: Final = {"text/plain": {"schema": {"type": "string"}}}
_DOCUMENT: Final = {"application/json": {"schema": {"type": "object"}}}
_SECURITY: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of NEXTACT_API_TOKENS. A worker that has none, on a loopback address, asks for none.",
    }
}


def openapi() -> Json:
    """Returns the document, OpenAPI 3.1."""
    structs = [path.answer for path in PATHS] + [path.body for path in PATHS] + [ErrorAnswer]
    types = list(dict.fromkeys(struct for struct in structs if struct is not None))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    schema_of = dict(zip(types, schemas, strict=True))
    paths: defaultdict[str, Json] = defaultdict(dict)
    for path in PATHS:
        paths[path.path][path.method.lower()] = _operation(path, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nextact",
            "version": version("nextact"),
            "description": "Asks workers what each shopper does next. Any worker answers for any user. Fields are "
            "added, never changed or taken away.",
        },
        "paths": dict(paths),
        "components": {"schemas": dict(sorted(components.items())), "securitySchemes": _SECURITY},
    }


def _operation(path: Path, schema_of: dict[Any, Json]) -> Json:
    operation: Json = {"operationId": path.name, "summary": path.summary}
    if path.parameters:
        operation["parameters"] = list(path.parameters)
    if path.body is not None:
        content = {"application/json": {"schema": schema_of[path.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    if path.answer is not None:
        content = {"application/json": {"schema": schema_of[path.answer]}}
    else:
        content = _DOCUMENT if path.name == "openapi" else _TEXT
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for code in errors_of(path):
        codes[STATUS_OF[code]].append(code)
    operation["responses"] = {"200": {"description": "The answer.", "content": content}} | {
        str(status): _error(status, names, schema_of[ErrorAnswer]) for status, names in sorted(codes.items())
    }
    operation["security"] = [] if path.is_open else [{"token": []}, {}]
    return operation


def _error(status: int, codes: list[str], schema: Json) -> Json:
    response: Json = {
        "description": f"The error's code: {' or '.join(codes)}.",
        "content": {"application/json": {"schema": schema}},
    }
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
    if status == 401:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string", "const": "Bearer"}}}
    return response
