"""Fuzzes what reads bytes that others wrote, led by coverage: `python -m tests.fuzz`.

Prints a line for each target: executions, places reached, inputs that differ, finds. A find is an input on which
something did not hold; its traceback is printed, the exit code is 1, and `--keep` adds it to the corpus that the tests
run. What was reached is kept in a folder, so that the next run goes on from there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from tests.fuzz.fuzzer import FuzzRun, fuzz, keep
from tests.fuzz.targets import NAMES
from tests.paths import ROOT


def main() -> None:
    """Entry point."""
    os.environ["AIOKAFKA_NO_EXTENSIONS"] = "1"  # here, too, so that what is kept is chosen by the reader in Python
    options = _parser().parse_args()
    unknown = set(options.targets) - set(NAMES)
    if unknown:
        sys.exit(f"there is no target {min(unknown)!r}; the targets are {', '.join(NAMES)}")
    targets = options.targets or list(NAMES)
    print(f"{'target':16} {'executions':>12} {'per s':>8} {'edges':>7} {'inputs':>7} {'finds':>6}", flush=True)
    runs = []
    for target in targets:
        start = time.monotonic()
        run = fuzz(target, options.dir, seconds=60 * options.minutes / len(targets))
        runs.append(run)
        _report(run, time.monotonic() - start)
        if options.keep:
            print(f"{'':16} {keep(target, options.dir)} inputs are in tests/fuzz/corpus/{target}", flush=True)
    finds = sum(len(run.finds) for run in runs)
    print(f"{'all':16} {sum(run.executions for run in runs):>12,} {'':24} {finds:>6}")
    sys.exit(1 if finds else 0)


def _report(run: FuzzRun, seconds: float) -> None:
    print(
        f"{run.target:16} {run.executions:>12,} {run.executions / seconds:>8,.0f} {run.edges:>7,} {run.corpus:>7,} "
        f"{len(run.finds):>6}",
        flush=True,
    )
    for find in run.finds:
        print(f"\n{find}\n{run.why}\n", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; default: all, in turn")
    parser.add_argument("--minutes", type=float, default=15, metavar="N", help="for all targets together; default: 15")
    parser.add_argument("--keep", action="store_true", help="add what reaches further, and finds, to tests/fuzz/corpus")
    parser.add_argument("--dir", type=Path, default=ROOT / ".fuzz", help="folder of corpora and finds; default: .fuzz")
    return parser


if __name__ == "__main__":
    main()
