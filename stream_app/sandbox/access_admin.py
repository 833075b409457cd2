"""Gives users of a secured broker their passwords and their rights, by Kafka's own requests.

What this leans on: aiokafka 0.14 has no request for users of SCRAM, and one for access control lists that adds one
list at a time, so both are written down here (Kafka's protocol guide, keys 51, 30 and 31), and are sent by
`_send_request` of its admin client. A test with a real broker sends each of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import (
    CreateAclsRequest_v1,
    DeleteAclsRequest_v1,
    DescribeAclsRequest_v1,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from stream_app.contract.access import Grant, grants
from stream_app.errors import BrokerFailed
from stream_app.kafka.clients import new_admin
from stream_app.settings import Settings

ITERATIONS: Final = 4096
"""Rounds of SCRAM's hash: Kafka's least. The passwords are random and long, so that more would guard nothing."""

_SCRAM: Final = {1: "sha256", 2: "sha512"}  # Kafka's numbers of SCRAM-SHA-256 and SCRAM-SHA-512
_RESOURCES: Final = {"Topic": 2, "Group": 3, "Cluster": 4, "TransactionalId": 5}
_OPERATIONS: Final = {
    name: number
    for number, name in enumerate(
        (
            "All",
            "Read",
            "Write",
            "Create",
            "Delete",
            "Alter",
            "Describe",
            "ClusterAction",
            "DescribeConfigs",
            "AlterConfigs",
            "IdempotentWrite",
        ),
        start=2,
    )
}
_ANY: Final = 1
_LITERAL, _PREFIXED = 3, 4
_ALLOW: Final = 3
_EVERYWHERE: Final = "*"  # the hosts that a right holds for
_SEEN_S: Final = 15.0  # seconds after which a broker must act by a right that was given or taken


@dataclass(frozen=True, slots=True)
class Acl:
    """One right of a user; operation and resource have Kafka's names."""

    user: str
    operation: str
    resource: str
    name: str
    prefixed: bool = False

    @classmethod
    def of(cls, grant: Grant) -> Acl:
        """Makes the right of the user who is called like the role."""
        return cls(grant.role, grant.operation, grant.resource, grant.name, grant.prefixed)

    def fields(self) -> tuple[int, str, int, str, str, int, int]:
        """Returns what Kafka's requests take: resource, name, pattern, principal, host, operation, permission."""
        pattern = _PREFIXED if self.prefixed else _LITERAL
        operation = _OPERATIONS[self.operation]
        return _RESOURCES[self.resource], self.name, pattern, f"User:{self.user}", _EVERYWHERE, operation, _ALLOW


async def set_passwords(admin: AIOKafkaAdminClient, passwords: Mapping[str, str]) -> None:
    """Makes users of SCRAM-SHA-256 and SCRAM-SHA-512, or gives them other passwords. Raises BrokerFailed."""
    for mechanism in _SCRAM:  # each by itself: a request may name a user once
        credentials = [_credential(user, mechanism, password) for user, password in passwords.items()]
        answer = await admin._send_request(_SetScram(credentials))
        _check("the users were not made", [(code, message) for _user, code, message, _tags in answer.results])


async def add_acls(admin: AIOKafkaAdminClient, acls: Collection[Acl]) -> None:
    """Gives rights, and returns when all brokers act by them. Raises BrokerFailed."""
    answer = await admin._send_request(_AddAcls([acl.fields() for acl in acls]))
    _check("the rights were not given", answer.creation_responses)
    await _until(admin, lambda present: present.issuperset(acls), "given")


async def give_rights(settings: Settings) -> None:
    """Gives all roles their rights on a stream, as the user of its settings. Raises BrokerFailed."""
    admin = new_admin(settings, "operator")
    await admin.start()
    try:
        await add_acls(admin, [Acl.of(grant) for grant in grants(settings)])
    finally:
        await admin.close()


async def remove_acls(admin: AIOKafkaAdminClient, acls: Collection[Acl]) -> None:
    """Takes rights, and returns when all brokers act by that. Raises BrokerFailed."""
    answer = await admin._send_request(_RemoveAcls([acl.fields() for acl in acls]))
    _check("the rights were not taken", [(code, message) for code, message, _acls in answer.filter_responses])
    await _until(admin, lambda present: present.isdisjoint(acls), "taken")


async def list_acls(admin: AIOKafkaAdminClient, node_id: int | None = None) -> set[Acl]:
    """Returns all rights of all users, as one of the brokers knows them."""
    answer = await admin._send_request(_ListAcls(), node_id)
    _check("the rights cannot be listed", [(answer.error_code, answer.error_message)])
    operations = {number: name for name, number in _OPERATIONS.items()}
    resources = {number: name for name, number in _RESOURCES.items()}
    return {
        Acl(principal.removeprefix("User:"), operations[operation], resources[kind], name, pattern == _PREFIXED)
        for kind, name, pattern, acls in answer.resources
        for principal, _host, operation, _permission in acls
    }


async def _until(admin: AIOKafkaAdminClient, holds: Callable[[set[Acl]], bool], done: str) -> None:
    """Waits until each broker has heard of a change from the controller: until then it acts by what was before."""
    try:
        async with asyncio.timeout(_SEEN_S):
            for broker in (await admin.describe_cluster())["brokers"]:
                while not holds(await list_acls(admin, broker["node_id"])):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise BrokerFailed(f"the rights are not {done} after {_SEEN_S:.0f} s") from error


def _credential(user: str, mechanism: int, password: str) -> tuple[str, int, int, bytes, bytes, dict[int, bytes]]:
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac(_SCRAM[mechanism], password.encode(), salt, ITERATIONS)
    return user, mechanism, ITERATIONS, salt, salted, {}


def _check(failure: str, results: Iterable[tuple[int, str | None]]) -> None:
    for code, message in results:
        if code:
            raise BrokerFailed(f"{failure}: {message or f'error {code} of Kafka'}")


class _SetScramResponse(Response):  # type: ignore[misc]
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _SetScramRequest(RequestStruct):  # type: ignore[misc]
    """AlterUserScramCredentials; https://kafka.apache.org/protocol, key 51."""

    API_KEY = 51
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _SetScramResponse
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _SetScram(Request[_SetScramRequest]):  # type: ignore[misc]
    API_KEY = 51

    def __init__(self, credentials: list[Any]) -> None:
        self._credentials = credentials

    def build(self, request_struct_class: type[_SetScramRequest]) -> _SetScramRequest:
        return request_struct_class([], self._credentials, {})


class _AddAcls(Request[CreateAclsRequest_v1]):  # type: ignore[misc]
    API_KEY = 30

    def __init__(self, acls: list[Any]) -> None:
        self._acls = acls

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        return request_struct_class(self._acls)


class _RemoveAcls(Request[DeleteAclsRequest_v1]):  # type: ignore[misc]
    API_KEY = 31

    def __init__(self, acls: list[Any]) -> None:
        self._acls = acls

    def build(self, request_struct_class: type[DeleteAclsRequest_v1]) -> DeleteAclsRequest_v1:
        return request_struct_class(self._acls)


class _ListAcls(Request[DescribeAclsRequest_v1]):  # type: ignore[misc]
    API_KEY = 29

    def build(self, request_struct_class: type[DescribeAclsRequest_v1]) -> DescribeAclsRequest_v1:
        return request_struct_class(_ANY, None, _ANY, None, None, _ANY, _ANY)
