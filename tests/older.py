"""The version before this one: its code from the history, run beside ours in processes of its own.

Its dependencies are ours, so that it needs no environment of its own but a path.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from tests.skips import NO_GIT_HISTORY

# The last commit of the version before. A release that changes formats, and so reads those before it, moves it here.
COMMIT: Final = "dc283ce119a41b58e1394466e30cc63c4a716ac3"

_ROOT: Final = Path(__file__).parents[1]


def older_code(folder: Path) -> Path:
    """Puts the packages of the version before below a folder, unless they are there, and returns where.

    Skips the test where the history does not have them.
    """
    code = folder / COMMIT
    if code.exists():
        return code
    archive = ["git", "-C", str(_ROOT), "archive", COMMIT, "model", "stream_app"]
    try:
        done = subprocess.run(archive, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(NO_GIT_HISTORY)
    partial = mkdtemp(dir=folder)
    with tarfile.open(fileobj=BytesIO(done.stdout)) as packed:
        packed.extractall(partial, filter="data")
    return Path(partial).rename(code)


def of_code(code: Path) -> dict[str, str]:
    """The variables with which a process imports the packages of a folder, wherever it starts."""
    return {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}


def run_older(code: Path, script: str, *arguments: str) -> str:
    """What a script prints that imports the version before; raises what it says where it fails."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **of_code(code)})
    assert done.returncode == 0, done.stderr
    return done.stdout
