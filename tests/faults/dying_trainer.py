"""`python -m tests.faults.dying_trainer MOMENT N`: a trainer that kills itself at the n-th file of its history.

MOMENT: `before` the file gets its name, or `after`.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

from stream_app.cli.main import main


def die_at(moment: str, nth: int) -> None:
    """Arms this process."""
    calls, replace = itertools.count(1), Path.replace

    def dying(path: Path, target: Path) -> Path:
        now = path.suffix == ".tmp" and next(calls) == nth
        if now and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        moved = replace(path, target)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return moved

    Path.replace = dying  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    die_at(sys.argv[1], int(sys.argv[2]))
    sys.argv = ["nextact", "trainer"]
    main()
