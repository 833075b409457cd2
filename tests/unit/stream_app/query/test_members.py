"""Where Kafka says that the members of a group are; a real broker is asked in `test_questions`."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiokafka.coordinator.protocol import (
    ConsumerProtocol,
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

from stream_app.errors import BrokerUnreachable
from stream_app.query.addresses import WorkerAddress
from stream_app.query.members import Members, Owners, _owners

ONE = WorkerAddress("http://10.0.0.5:9680", "one")


class Kafka:
    """Says where workers are, as often as it is asked."""

    def __init__(self, *answers: Owners | Exception) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self) -> Owners:
        self.asked += 1
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_kafka_is_asked_once_a_second_however_many_ask() -> None:
    now = [100.0]
    kafka = Kafka({}, {3: ONE})
    members = Members(kafka, lambda: now[0])

    async def body() -> None:
        assert await asyncio.gather(*(members.owner_of(3) for _ in range(50))) == [None] * 50
        assert kafka.asked == 1
        now[0] += 1.0
        assert await members.owner_of(3) == ONE
        assert await members.owner_of(4) is None
        assert kafka.asked == 2

    asyncio.run(body())


def test_nobody_is_anywhere_where_kafka_does_not_say(caplog: pytest.LogCaptureFixture) -> None:
    members = Members(Kafka(BrokerUnreachable("no broker at kafka:9092")), lambda: 0.0)
    assert asyncio.run(members.owner_of(3)) is None
    assert "no broker at kafka:9092" in caplog.text


def member(user_data: bytes, *assigned: tuple[str, list[int]]) -> dict[str, bytes]:
    metadata = ConsumerProtocolMemberMetadata(4, ["events"], user_data)
    assignment = ConsumerProtocolMemberAssignment(4, list(assigned), b"")
    return {
        "member_metadata": ConsumerProtocol.METADATA.encode(metadata),
        "member_assignment": ConsumerProtocol.ASSIGNMENT.encode(assignment),
    }


def test_owners_are_read_of_members_that_are_workers() -> None:
    old = json.dumps({"url": "http://vm:6066", "assignment": {}}).encode()
    new = json.dumps({"url": str(ONE.spread()), "assignment": {}}).encode()
    waiting = {"member_metadata": b"", "member_assignment": b""}  # as all are in a rebalance
    others = [member(text, ("events", [4])) for text in (b"", b"\xff", b"[1]", b"{}", old)]
    of_one = member(new, ("events", [1, 3]), ("changelog", [1, 2, 3]))
    described = {"groups": [{"members": [*others, waiting, of_one]}]}
    assert dict(_owners(described, "events")) == {1: ONE, 3: ONE}
