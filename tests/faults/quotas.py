"""Kafka's client quotas, which aiokafka has no call for: AlterClientQuotas, version 0, by its public protocol."""

from __future__ import annotations

from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Float64, Int16, Int32, Schema, String

_KEY: Final = 49
_TEXT: Final = String("utf-8")
_ENTITY: Final = Array(("entity_type", _TEXT), ("entity_name", _TEXT))


class _Response(Response):  # type: ignore[misc]
    API_KEY = _KEY
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("entries", Array(("error_code", Int16), ("error_message", _TEXT), ("entity", _ENTITY))),
    )


class _Struct(RequestStruct):  # type: ignore[misc]
    API_KEY = _KEY
    API_VERSION = 0
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "entries",
            Array(("entity", _ENTITY), ("ops", Array(("key", _TEXT), ("value", Float64), ("remove", Boolean)))),
        ),
        ("validate_only", Boolean),
    )


class _AlterClientQuotas(Request[_Struct]):  # type: ignore[misc]
    API_KEY = _KEY

    def __init__(self, client: str, rate: int | None) -> None:
        self._entry = ([("client-id", client)], [("producer_byte_rate", float(rate or 0), rate is None)])

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        return request_struct_class([self._entry], False)


async def limit_producers(admin: AIOKafkaAdminClient, client: str, rate: int | None) -> None:
    """Every broker takes `rate` bytes per second from producers with the id `client`; None: as many as come."""
    response: Any = await admin._send_request(_AlterClientQuotas(client, rate))
    for code, message, _entity in response.entries:
        if code:
            raise RuntimeError(f"the quota of {client} was not set: {code} {message}")
