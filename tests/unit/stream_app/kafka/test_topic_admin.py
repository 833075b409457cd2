"""What is said of brokers that do not answer; topics themselves are made and checked on a real broker."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from stream_app.errors import BrokerUnreachable
from stream_app.kafka import topic_admin as topics
from stream_app.settings import load_settings


class Admin:
    """A client of a cluster where something does not answer."""

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


@pytest.mark.parametrize(("broken", "told"), [("start", "refused"), ("describe", "node id 2")])
def test_a_broker_that_does_not_answer_is_a_mistake_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, broken: str, told: str
) -> None:
    monkeypatch.setattr(topics, "AIOKafkaAdminClient", type("Broken", (Admin,), {"broken": broken}))
    with pytest.raises(BrokerUnreachable, match=f"{told}.*--brokers"):
        asyncio.run(topics.ensure_topics(load_settings()))
