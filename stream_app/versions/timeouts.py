"""Runs reads and writes that may hang, as storage on the network may never answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

T = TypeVar("T")

_THREAD: Final = "bounded"  # the name of each thread
_MOST: Final = 16  # threads at once
_LOOP_CLOSED: Final = RuntimeError  # raised by an event loop that was closed while the work went on


async def with_timeout(seconds: float, work: Callable[[], T]) -> T:
    """Returns the result of `work`, done in a thread of its own; raises `TimeoutError` when it takes longer.

    Late work goes on alone: its result is dropped, and its thread does not keep the process from ending, as one of an
    executor would. Where many hang no more are begun, which is a `TimeoutError` at once: storage that comes back after
    hours would serve them all together. Not for computing: Python ends such threads where they stand, and PyTorch's
    abort.
    """
    if sum(thread.name == _THREAD for thread in threading.enumerate()) >= _MOST:
        raise TimeoutError
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None only if T includes it

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        with suppress(_LOOP_CLOSED):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=_THREAD, daemon=True).start()
    async with asyncio.timeout(seconds):
        return await done
