"""All users of a file are sent once, to the partitions where their events are; the broker itself is in
`tests/integration/test_past.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stream_app.contract.joins import ImportedPast, decode_join
from stream_app.contract.string_columns import strings
from stream_app.errors import TopicMismatch, UsageError
from stream_app.kafka.key_partitions import key_partitions
from stream_app.offline import past_sender as module
from stream_app.offline.past_events import PastEvents
from stream_app.offline.past_sender import SentPast, _send, check_joins_topic
from stream_app.settings import load_settings
from tests.unit.builders.imports import Source, import_source

PARTITIONS = 3


class Sent:
    """Keeps what is sent, and acknowledges all of it but for the first record a turn later."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes, bytes]] = []

    async def send(self, topic: str, value: bytes, key: bytes) -> asyncio.Future[Any]:
        assert topic == "joins"
        self.records.append((key, value))
        acknowledged = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(acknowledged.set_result, None)
        return acknowledged


def test_users_are_sent_to_the_partitions_of_their_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "USERS", 1)
    monkeypatch.setattr(module, "_IN_FLIGHT", 2)
    sent, told = Sent(), list[SentPast]()
    with PastEvents(PARTITIONS, 5) as past:
        pieces = import_source(tmp_path, Source.of(range(20), lines=2))
        for piece in pieces:
            past.add(piece)
        result = asyncio.run(_send("joins", sent, past, told.append))
    assert result == told[-1] == SentPast(4, 40)
    assert [one.users for one in told] == [1, 2, 3, 4, 4]
    users = []
    for key, value in sent.records:
        _, said = decode_join(key, value)
        assert isinstance(said, ImportedPast)
        assert (said.source, said.end) == (int(pieces[0].source, 16), 20)
        homes = key_partitions(strings([key, *(user.encode() for user in said.users)]), PARTITIONS)
        assert len(set(homes.tolist())) == 1
        users += said.users
    assert sorted(users) == ["u0", "u1", "u2", "u3"]


def test_without_joins_the_command_says_what_can_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async def missing(*_: Any) -> None:
        raise TopicMismatch("there is no topic")

    monkeypatch.setattr(module, "ensure_topics", missing)
    settings = load_settings()
    with pytest.raises(TopicMismatch, match=r"there is no topic. Import it with --no-states"):
        asyncio.run(check_joins_topic(settings))
    with pytest.raises(UsageError, match="--no-states"):
        asyncio.run(check_joins_topic(settings.model_copy(update={"joins": False})))
