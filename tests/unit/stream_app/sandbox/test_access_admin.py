"""Rights and passwords as Kafka's requests take them; `tests/integration/test_secure.py` sends them to a broker."""

from __future__ import annotations

import asyncio
import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from stream_app.contract.access import Grant
from stream_app.errors import BrokerFailed
from stream_app.sandbox.access_admin import ITERATIONS, Acl, add_acls, set_passwords


class Admin:
    """Takes a request, encodes it as it would go out, and gives the answer that it was made with."""

    def __init__(self, versions: dict[int, tuple[int, int]], answer: Any) -> None:
        self.versions, self.answer = versions, answer
        self.sent: list[Any] = []

    async def _send_request(self, request: Any) -> Any:
        self.sent.append(request.prepare(self.versions))
        assert self.sent[-1].encode()
        return self.answer


def test_a_grant_is_a_right_of_the_user_of_that_name() -> None:
    acl = Acl.of(
        Grant("worker", "Write", "TransactionalId", "nextact.", "makes a batch one transaction", prefixed=True)
    )
    assert acl == Acl("worker", "Write", "TransactionalId", "nextact.", prefixed=True)
    assert acl.fields() == (5, "nextact.", 4, "User:worker", "*", 4, 3)
    assert Acl("operator", "DescribeConfigs", "Topic", "t").fields() == (2, "t", 3, "User:operator", "*", 10, 3)


def test_a_password_is_sent_as_its_salted_hash_for_both_mechanisms() -> None:
    admin: Any = Admin({51: (0, 0)}, SimpleNamespace(results=[("worker", 0, None, {})]))
    asyncio.run(set_passwords(admin, {"worker": "pencil"}))
    for request, number, name in zip(admin.sent, (1, 2), ("sha256", "sha512"), strict=True):
        ((user, mechanism, iterations, salt, salted, _tags),) = request.get_item("upsertions")
        assert (user, mechanism, iterations) == ("worker", number, ITERATIONS)
        assert salted == hashlib.pbkdf2_hmac(name, b"pencil", salt, ITERATIONS)
        assert b"pencil" not in request.encode()


def test_what_kafka_refuses_is_said() -> None:
    admin: Any = Admin({30: (1, 3)}, SimpleNamespace(creation_responses=[(31, "Cluster authorization failed.")]))
    with pytest.raises(BrokerFailed, match=r"the rights were not given: Cluster authorization failed\."):
        asyncio.run(add_acls(admin, [Acl("worker", "Read", "Topic", "t")]))
