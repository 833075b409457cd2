"""Asking needs a version that serves; tests/integration compares what is said with a worker's answers."""

from __future__ import annotations

import asyncio

import pytest
import torch

from stream_app.errors import UsageError
from stream_app.people import asking
from stream_app.settings import Settings


def test_without_a_version_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(_: Settings) -> None:
        return None

    monkeypatch.setattr(asking, "current_champion", nobody)
    with pytest.raises(UsageError, match=r"no version serves yet, .*: run `nextact trainer` first"):
        asyncio.run(asking.asking(Settings(), torch.device("cpu")))
