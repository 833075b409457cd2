"""Work that hangs delays neither its caller nor the end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from stream_app.versions.timeouts import _MOST, with_timeout


def test_results_and_errors_come_back() -> None:
    assert asyncio.run(with_timeout(10, lambda: 7)) == 7
    with pytest.raises(ZeroDivisionError):
        asyncio.run(with_timeout(10, lambda: 1 // 0))


def test_late_work_is_abandoned_and_its_result_dropped() -> None:
    release, ended = threading.Event(), threading.Event()

    def late() -> int:
        release.wait(10)
        ended.set()
        return 7

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await with_timeout(0.01, late)
        release.set()
        assert await asyncio.to_thread(ended.wait, 10)

    asyncio.run(give_up())


def test_work_that_ends_after_the_loop_raises_nothing() -> None:
    release, threads = threading.Event(), list[threading.Thread]()

    def late() -> None:
        threads.append(threading.current_thread())
        release.wait(10)

    with pytest.raises(TimeoutError):
        asyncio.run(with_timeout(0.2, late))
    release.set()
    threads[0].join(10)  # an exception in it would be a warning, and warnings are errors


def test_work_that_hangs_for_hours_does_not_pile_up() -> None:
    release, begun = threading.Event(), list[threading.Thread]()

    def hanging() -> None:
        begun.append(threading.current_thread())
        release.wait(60)

    async def try_again_and_again() -> None:
        for _ in range(3 * _MOST):
            with pytest.raises(TimeoutError):
                await with_timeout(0.01, hanging)
        release.set()
        for thread in begun:
            thread.join(10)
        assert await with_timeout(10, lambda: 7) == 7

    asyncio.run(try_again_and_again())
    assert 0 < len(begun) <= _MOST


def test_the_process_ends_while_work_hangs() -> None:
    code = """
import asyncio, threading
from stream_app.versions.timeouts import with_timeout
try:
    asyncio.run(with_timeout(0.01, threading.Event().wait))
except TimeoutError:
    print("given up")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "given up\n"
