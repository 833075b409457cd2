"""A disk with no room: a file system in memory, mounted where a worker keeps its states, and filled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SIZE: Final = 256 * 1024
_FILLER: Final = "filler"


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Nothing can be written below `folder` inside; needs root. What lies there is out of sight meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "nextact-faults", str(folder)], check=True)
    try:
        _fill(folder / _FILLER)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            return
