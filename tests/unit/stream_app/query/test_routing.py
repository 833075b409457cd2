"""Who answers."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.partitioner import murmur2

from stream_app.query.refusals import Refusal
from stream_app.query.routing import Router, partition_of

NOBODY: Any = None  # is asked here


def router(owned: set[int] | None) -> Router:
    return Router("nextact/one", lambda: owned, lambda _: None, NOBODY)


def test_a_user_is_where_kafkas_partitioner_puts_their_events() -> None:
    for user in ("u", "é", "somebody", "x" * 256):
        assert partition_of(user, 7) == (murmur2(user.encode()) & 0x7FFFFFFF) % 7


@pytest.mark.parametrize("hop", [None, "nextact/one"])
def test_ones_own_users_are_answered_here(hop: str | None) -> None:
    assert router({1}).is_own(1, hop)


def test_others_users_are_not() -> None:
    assert not router({1}).is_own(2, None)


@pytest.mark.parametrize(
    ("owned", "hop", "code", "words"),
    [
        (None, None, "rebalancing", "on their way"),
        (None, "nextact/one", "rebalancing", "on their way"),
        ({1}, "nextact/one", "rebalancing", "on their way"),  # forwarded to who is not the owner any more
        ({1, 2}, "nextact/two", "owner_unreachable", "an address of its own"),
        ({1, 2}, "other/one", "owner_unreachable", "an address of its own"),
    ],
)
def test_otherwise_nobody_is_asked(owned: set[int] | None, hop: str | None, code: str, words: str) -> None:
    with pytest.raises(Refusal, match=words) as refused:
        router(owned).is_own(2, hop)
    assert refused.value.content.code == code
