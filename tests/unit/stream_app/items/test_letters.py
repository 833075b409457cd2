"""Who writes the dead letters of items; that they come to the topic is tried on a real broker."""

from __future__ import annotations

import asyncio
from typing import Any

from stream_app.contract.decoded import Rejection
from stream_app.items.letters import ItemLetters
from stream_app.items.local_catalogue import RejectedItem
from stream_app.settings import load_settings
from tests.unit.builders.basics import make_record

BAD = RejectedItem(make_record(b"{", key=b"7"), Rejection(0, "not_json", "why"))


def waiting_after(owner: bool | None, refused: bool = False) -> tuple[int, int]:
    """How many letters wait after an attempt to write two, and how many were written."""
    written: list[RejectedItem] = []

    class Letters(ItemLetters):
        async def _send(self, waiting: Any) -> None:
            if refused:
                raise ConnectionError
            written.extend(waiting)

    letters = Letters(load_settings(), lambda: owner, lambda: 0.0)
    letters.note([BAD, BAD])
    try:
        asyncio.run(letters.write())
    except ConnectionError:
        assert refused
    return len(letters), len(written)


def test_the_owner_of_the_first_partition_writes() -> None:
    assert waiting_after(True) == (0, 2)


def test_others_forget() -> None:
    assert waiting_after(False) == (0, 0)


def test_who_does_not_know_yet_or_cannot_write_now_keeps_them() -> None:
    assert waiting_after(None) == (2, 0)
    assert waiting_after(True, refused=True) == (2, 0)
