"""What aiokafka's reader makes of inputs: `python -m tests.fuzz.twins FOLDER` prints it, a line for each file by name.

aiokafka has the same reader in Python and compiled; which one a process has, `AIOKAFKA_NO_EXTENSIONS` decides.
"""

from __future__ import annotations

import os
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

from tests.fuzz.targets.record_batches import Fields, by_aiokafka, raw_batches
from tests.paths import ROOT

Outcomes = list[list[Fields] | None]  # of the batches of an input: their records, None where the reader refuses
_INT64 = range(-(2**63), 2**63)


def outcomes(folder: Path) -> list[Outcomes]:
    """Returns what the reader of this process makes of each input in a folder, in the order of their names."""
    files = sorted(folder.iterdir())
    return [[by_aiokafka(raw.data) for raw in raw_batches(path.read_bytes())] for path in files]


def outcomes_in_python(folder: Path) -> list[Outcomes]:
    """Returns the same of the reader in Python, by another process."""
    command = [sys.executable, "-m", "tests.fuzz.twins", str(folder)]
    environment = {**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return [literal_eval(line) for line in done.stdout.decode().splitlines()]


def differ(compiled: Outcomes, python: Outcomes) -> bool:
    """Whether the readers have other records of an input; numbers beyond 64 bits, which Python has, are let pass."""
    pairs = zip(compiled, python, strict=True)
    return any(one != other and not _goes_beyond(other) for one, other in pairs)


def _goes_beyond(records: list[Fields] | None) -> bool:
    return any(number not in _INT64 for offset, time, *_ in records or () for number in (offset, time or 0))


if __name__ == "__main__":
    for outcome in outcomes(Path(sys.argv[1])):
        print(repr(outcome))
