"""Reading and writing that may hang: a place on the network that answers never."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from model.errors import VersionRefused
from model.versions.manifest import VersionFiles, read_files

T = TypeVar("T")

_CLOSED: Final = RuntimeError  # of an event loop that ended while the work went on


async def with_timeout(seconds: float, work: Callable[[], T]) -> T:
    """The result of `work`, done in a thread of its own; raises `TimeoutError` when it takes longer.

    Work that is late is left to itself: its result is dropped, and its thread does not keep the process from ending,
    as one of an executor would. Not for computing: Python ends such threads where they stand, and PyTorch's abort.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None only where T has it

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        with suppress(_CLOSED):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="bounded", daemon=True).start()
    async with asyncio.timeout(seconds):
        return await done


async def read_with_timeout(seconds: float, path: str, manifest_sha256: str | None) -> VersionFiles:
    """The files of a version; raises `VersionRefused`, unreadable for a place that does not answer in time."""
    try:
        return await with_timeout(seconds, lambda: read_files(path, manifest_sha256))
    except TimeoutError as error:
        raise VersionRefused("unreadable", f"{path} does not answer within {seconds:g} s") from error
