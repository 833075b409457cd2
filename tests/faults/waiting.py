"""Waiting for what other processes do, which tell nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], Awaitable[bool]], timeout: float, what: str, *, every: float = 0.2) -> None:
    """Returns when something holds; raises `TimeoutError`, saying what did not come, after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            while not await holds():  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(every)
    except TimeoutError as error:
        raise TimeoutError(f"not within {timeout} s: {what}") from error
