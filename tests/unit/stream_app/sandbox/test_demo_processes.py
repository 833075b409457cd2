"""The demo's children start in any folder, and are missed when they end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from sysconfig import get_path

import pytest

from stream_app.errors import ChildFailed
from stream_app.sandbox.demo_processes import child_command, unless_failed, watch_children
from stream_app.sandbox.processes import ChildProcess


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder whose files are called like our packages."""
    for name in ("model", "stream_app", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('this is the {name}.py of the working folder')\n")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        child_command("worker"),
        child_command("trainer"),
        [sys.executable, "-P", "-m", "stream_app", "doctor"],
        [str(Path(get_path("scripts"), "nextact")), "demo"],
    ],
    ids=["worker", "trainer", "module", "script"],
)
def test_commands_start_beside_files_that_are_called_like_our_packages(hostile: Path, command: list[str]) -> None:
    done = subprocess.run([*command, "--help"], cwd=hostile, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: {'nextact' if command[0] != sys.executable else 'python -m stream_app'}")


def test_a_child_that_ends_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "seq 30; exit 3"]
    child = ChildProcess.start(command, name="worker", log_path=tmp_path / "worker.log")
    assert child.wait(10) == 3
    with pytest.raises(ChildFailed, match=r"the worker ended with 3; its last lines:\n11\n12\n(.*\n)*30$"):
        asyncio.run(watch_children([child]))


def test_work_ends_with_the_error_of_a_task_beside_it() -> None:
    async def fails() -> None:
        raise ChildFailed("the worker ended with 3")

    async def run(seconds: float) -> None:
        beside = [asyncio.create_task(fails() if seconds else asyncio.sleep(60))]
        await unless_failed(asyncio.sleep(seconds), beside)
        beside[0].cancel()

    asyncio.run(run(0))
    start = time.monotonic()
    with pytest.raises(ChildFailed):
        asyncio.run(run(30))
    assert time.monotonic() - start < 10
