"""Audiences are replaced by what is new, what has changed and what is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from model.profile.audiences import Audience, Audiences
from stream_app.contract.signals.audiences import encode_audience
from stream_app.errors import UsageError
from stream_app.settings import Settings, load_settings
from stream_app.signals import admin

CARTS, KEEN = Audience(cart_open=True), Audience(cart_open=False)


class Producer:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, bytes | None]] = []
        self.stopped = False

    async def send(self, topic: str, value: bytes | None = None, key: bytes | None = None, **_: Any) -> Any:
        assert topic == "shop.audiences"
        self.sent.append((key, value))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def flush(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True


def test_only_what_changes_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Producer()

    async def started(settings: Settings, role: str) -> Producer:
        assert role == "operator"
        return producer

    async def current(_: Settings) -> Audiences:
        return {"gone": CARTS, "same": CARTS, "changed": CARTS}

    monkeypatch.setattr(admin, "started_producer", started)
    monkeypatch.setattr(admin, "current_audiences", current)
    settings = load_settings({"signals_topic": "shop.signals"})
    wanted = {"same": CARTS, "changed": KEEN, "new": KEEN}
    before = asyncio.run(admin.replace_audiences(settings, wanted))
    assert set(before) == {"gone", "same", "changed"}
    assert producer.sent == [(b"gone", None), (b"changed", encode_audience(KEEN)), (b"new", encode_audience(KEEN))]
    assert producer.stopped


def test_without_signals_nobody_follows_audiences() -> None:
    with pytest.raises(UsageError, match="NEXTACT_SIGNALS_TOPIC"):
        asyncio.run(admin.current_audiences(load_settings()))
