"""Looks whether Kafka answers. Only with `--brokers`: the page needs no Kafka."""

from __future__ import annotations

import asyncio
from typing import Final

from model.errors import NextactError
from stream_app.kafka.clients import new_admin
from stream_app.page.worker_client import Trouble
from stream_app.settings import Settings

_ANSWER_S: Final = 8.0  # seconds that connecting may take


async def probe_broker(settings: Settings) -> Trouble | None:
    """Returns why Kafka cannot be used, or None when it answers."""
    try:
        async with asyncio.timeout(_ANSWER_S), new_admin(settings, "subscriber"):
            return None
    except NextactError as error:
        reason = str(error)
    except TimeoutError:
        reason = f"no answer from {settings.brokers} within {_ANSWER_S:g} s"
    return Trouble(
        f"Kafka cannot be reached: {reason.rstrip('.')}",
        "Without it no event comes in, and workers end after a while. Start it again; workers that have ended, too.",
        "broker",
    )
