"""Where Kafka says that the members of a group are; a real broker is asked in `test_questions`."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocol, ConsumerProtocolMemberMetadata

from stream_app.errors import BrokerUnreachable
from stream_app.query.addresses import WorkerAddress
from stream_app.query.members import Addresses, Members, _addresses

ONE = WorkerAddress("http://10.0.0.5:9680", "one")


class Kafka:
    """Says where workers are, as often as it is asked."""

    def __init__(self, *answers: Addresses | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self) -> Addresses:
        self.asked += 1
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_kafka_is_asked_once_a_second_however_many_ask() -> None:
    now = [100.0]
    kafka = Kafka({}, {"one": ONE})
    members = Members(kafka, lambda: now[0])

    async def body() -> None:
        assert await asyncio.gather(*(members.address_of("one") for _ in range(50))) == [None] * 50
        assert kafka.asked == 1
        now[0] += 1.0
        assert await members.address_of("one") == ONE
        assert await members.address_of("two") is None
        assert kafka.asked == 2

    asyncio.run(body())


def test_nobody_is_anywhere_where_kafka_does_not_say(caplog: pytest.LogCaptureFixture) -> None:
    members = Members(Kafka(BrokerUnreachable("no broker at kafka:9092")), lambda: 0.0)
    assert asyncio.run(members.address_of("one")) is None
    assert "no broker at kafka:9092" in caplog.text


def test_addresses_are_read_of_members_that_are_workers() -> None:
    def member(user_data: bytes) -> dict[str, bytes]:
        metadata = ConsumerProtocolMemberMetadata(4, ["events"], user_data)
        return {"member_metadata": ConsumerProtocol.METADATA.encode(metadata)}

    old = json.dumps({"url": "http://vm:6066", "assignment": {}}).encode()
    new = json.dumps({"url": str(ONE.spread()), "assignment": {}}).encode()
    others = [member(b""), member(b"\xff"), member(b"[1]"), member(b"{}"), {"member_metadata": b""}]
    described = {"groups": [{"members": [member(old), member(new), *others]}]}
    assert list(_addresses(described)) == [ONE]
