"""The conditions of a container: a root file system that cannot be written, and a home without files."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

_NAMESPACE: Final = ("unshare", "--user", "--map-root-user", "--mount")
# $1: how many folders follow that stay writable; behind them the command.
_SCRIPT: Final = """
count=$1; shift
while [ $count -gt 0 ]; do mount --bind "$1" "$1"; shift; count=$((count - 1)); done
mount -o remount,bind,ro /
exec "$@"
"""


@cache
def can_be_read_only() -> bool:
    """Whether this machine lets us make mounts of our own."""
    try:
        return subprocess.run([*_NAMESPACE, "sh", "-ec", _SCRIPT, "sh", "0", "true"], check=False).returncode == 0
    except FileNotFoundError:
        return False


def read_only(*writable: Path) -> Sequence[str]:
    """What to put before a command, so that it sees all files but may write only to these folders; it keeps its pid."""
    for folder in writable:
        folder.mkdir(parents=True, exist_ok=True)
    return (*_NAMESPACE, "sh", "-ec", _SCRIPT, "sh", str(len(writable)), *map(str, writable))


def compile_ahead(folder: Path) -> str:
    """Fills a folder as the image's build does; returns what is said. It must be a process that begins with nothing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NEXTACT_CACHE_DIR": str(folder)}
    line = [sys.executable, "-m", "stream_app", "compile"]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout


@contextmanager
def compiling(*, others: bool = False) -> Iterator[None]:
    """Within it no other process of the tests compiles ahead; `others`: but others may wait for that, too."""
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if others else fcntl.LOCK_EX)
        yield


def give_to_all(folder: Path) -> None:
    """Adds what was compiled ahead to the folder that all tests use, also while they do: what the indexes name comes
    before them, each file at once, and nothing that is newer there is replaced."""
    source, target = folder / "numba", Path(os.environ["NUMBA_CACHE_DIR"])
    for file in (file for kind in ("nbc", "nbi") for file in source.rglob(f"*.{kind}")):
        place = target / file.relative_to(source)
        if not place.exists() or place.stat().st_mtime < file.stat().st_mtime:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, new := place.with_suffix(".new"))
            new.replace(place)
