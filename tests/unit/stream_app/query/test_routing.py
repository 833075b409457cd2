"""Who answers."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.partitioner import murmur2

from stream_app.query.addresses import WorkerAddress
from stream_app.query.refusals import Refusal
from stream_app.query.routing import Router, partition_of

TWO = WorkerAddress("http://10.0.0.6:9680", "two")
NOBODY: Any = None  # is asked: `owner` only says who is to be


def router(owned: set[int] | None, **spread: str) -> Router:
    return Router("nextact/one", lambda: owned, {int(name[1:]): url for name, url in spread.items()}.get, NOBODY)


def test_a_user_is_where_kafkas_partitioner_puts_their_events() -> None:
    for user in ("u", "é", "somebody", "x" * 256):
        assert partition_of(user, 7) == (murmur2(user.encode()) & 0x7FFFFFFF) % 7


@pytest.mark.parametrize("hop", [None, "nextact/one"])
def test_ones_own_users_are_answered_here(hop: str | None) -> None:
    assert router({1}, p1=str(TWO.spread())).owner(1, hop) is None


def test_the_owner_is_asked() -> None:
    assert router({1}, p2=str(TWO.spread())).owner(2, None) == TWO


@pytest.mark.parametrize(
    ("owned", "hop", "code", "words"),
    [
        (None, None, "rebalancing", "on their way"),
        (None, "nextact/one", "rebalancing", "on their way"),
        ({1}, "nextact/one", "rebalancing", "on their way"),  # forwarded to who is not the owner any more
        ({1, 2}, "nextact/two", "owner_unreachable", "an address of its own"),
        ({1, 2}, "other/one", "owner_unreachable", "an address of its own"),
        ({1}, None, "owner_unreachable", "to be upgraded"),  # no URL, or one from before, see below
    ],
)
def test_otherwise_nobody_is_asked(owned: set[int] | None, hop: str | None, code: str, words: str) -> None:
    for spread in ({}, {"p2": "http://vm:6066"}) if words == "to be upgraded" else ({"p2": str(TWO.spread())},):
        with pytest.raises(Refusal, match=words) as refused:
            router(owned, **spread).owner(2, hop)
        assert refused.value.content.code == code
