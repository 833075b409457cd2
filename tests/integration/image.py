"""The conditions of a container: a root file system that cannot be written, and a home without files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
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
