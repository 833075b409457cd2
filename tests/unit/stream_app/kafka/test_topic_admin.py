"""Brokers that do not answer; topics themselves are made and checked on a real broker, in tests/integration."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from stream_app.errors import BrokerUnreachable
from stream_app.kafka import clients, topic_admin
from stream_app.settings import load_settings


class Admin:
    """An admin client of a cluster in which a broker does not answer."""

    broken: str

    def __init__(self, **_: object) -> None:
        self.closed = False

    async def start(self) -> None:
        if self.broken == "start":
            raise KafkaConnectionError("refused")

    async def describe_topics(self, _: list[str]) -> None:
        raise NodeNotReadyError("node id 2")

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("broken", "message"), [("start", "refused"), ("describe", "node id 2")])
def test_a_broker_that_does_not_answer_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, broken: str, message: str
) -> None:
    monkeypatch.setattr(clients, "AIOKafkaAdminClient", type("Broken", (Admin,), {"broken": broken}))
    with pytest.raises(BrokerUnreachable, match=f"{message}.*--brokers"):
        asyncio.run(topic_admin.ensure_topics(load_settings()))
