"""Runs libFuzzer on a target in a process of its own, and keeps what it has found in a folder.

A folder of a target has its `corpus`, which grows from run to run, and in `finds` the inputs on which something did not
hold, of which libFuzzer names the first.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Final

from tests.fuzz.minimal import new_inputs
from tests.fuzz.targets import CORPUS, load
from tests.paths import ROOT

LONGEST: Final = 2048  # bytes of an input; longer ones lead to the same code, more slowly
_TIMEOUT_S: Final = 30  # of one input: what takes longer does not end
_MEMORY_MB: Final = 3000  # of the process; it takes about 500 by itself
_KEPT_LONGEST: Final = 1024  # bytes of an input that is committed


@dataclass(frozen=True, slots=True)
class FuzzRun:
    """What came of fuzzing a target."""

    target: str
    executions: int
    edges: int  # places in the code that were reached, as libFuzzer counts them
    corpus: int  # inputs that reach different ones
    finds: list[Path]  # inputs on which something did not hold
    why: str  # the last lines of a traceback, or of libFuzzer


def fuzz(target: str, folder: Path, *, seconds: float, committed: Path = CORPUS, check_bounds: bool = True) -> FuzzRun:
    """Fuzzes a target for some time, or until the first find.

    `check_bounds`: compiled loops check them, which compiles them anew once.
    """
    own = folder / target
    finds = own / "finds"
    _write_seeds(target, own)
    finds.mkdir(parents=True, exist_ok=True)
    before = set(finds.iterdir())
    corpora = [own / "corpus", own / "seeds", *([committed / target] if (committed / target).is_dir() else [])]
    options = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={LONGEST}",
        f"-dict={own / 'tokens.dict'}",
        f"-artifact_prefix={finds}/",
    ]
    log = _child(target, [*options, *map(str, corpora)], folder if check_bounds else None)
    return _run_of(target, log, sorted(set(finds.iterdir()) - before))


def keep(target: str, folder: Path, committed: Path = CORPUS) -> int:
    """Adds to the committed inputs those that reach further, the shortest first, and what was found; returns how many
    there are."""
    kept, own = committed / target, folder / target
    kept.mkdir(parents=True, exist_ok=True)
    present = [path.read_bytes() for path in (*_files(own / "seeds"), *_files(kept))]
    candidates = [data for path in _files(own / "corpus") if len(data := path.read_bytes()) <= _KEPT_LONGEST]
    for data in (*new_inputs(target, present, candidates), *(path.read_bytes() for path in _files(own / "finds"))):
        _write(kept, data)
    return len(_files(kept))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _child(target: str, arguments: Sequence[str], numba_folder: Path | None) -> str:
    """Runs `tests.fuzz.child` and returns what it printed."""
    environment = {**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1", "PYTHONPATH": str(ROOT)}
    if numba_folder is not None:
        environment |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(numba_folder / "numba")}
    limits = [f"-timeout={_TIMEOUT_S}", f"-rss_limit_mb={_MEMORY_MB}", "-print_final_stats=1", "-verbosity=1"]
    command = [sys.executable, "-m", "tests.fuzz.child", target, *limits, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False)
    output = (done.stdout + done.stderr).decode(errors="replace")
    return "\n".join(line for line in output.splitlines() if not line.startswith("INFO: Instrumenting"))


def _run_of(target: str, log: str, finds: list[Path]) -> FuzzRun:
    counted = re.findall(r"^stat::number_of_executed_units: *(\d+)", log, re.M) or re.findall(r"^#(\d+)", log, re.M)
    covered = re.findall(r"cov: (\d+) ft: \d+ corp: (\d+)", log) or [(0, 0)] * bool(finds)
    if not counted or not covered:
        raise RuntimeError(f"the fuzzer of {target} did not run:\n{log[-4000:]}")
    edges, corpus = covered[-1]
    raised = re.search(r"=== Uncaught Python exception: ===\n(.*?)\nINFO: ", log, re.S)
    why = raised[1] if raised else "\n".join(line for line in log.splitlines() if "ERROR" in line)
    return FuzzRun(target, int(counted[-1]), int(edges), int(corpus), finds, why)


def _write_seeds(target: str, own: Path) -> None:
    (own / "corpus").mkdir(parents=True, exist_ok=True)
    (own / "seeds").mkdir(exist_ok=True)
    loaded = load(target)
    for seed in loaded.seeds():
        _write(own / "seeds", seed)
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in token) + '"' for token in dict.fromkeys(loaded.TOKENS)]
    (own / "tokens.dict").write_text("\n".join(lines) + "\n")


def _write(folder: Path, data: bytes) -> None:
    (folder / sha1(data).hexdigest()).write_bytes(data)  # named as libFuzzer names its own
