"""Faults on purpose, and an oracle that misses nothing: `python -m tests.faults`.

Starts three brokers and several workers as real processes, publishes a seeded load, injects each row of faults,
replays the input log in plain Python and compares. Prints progress on stderr and a JSON report on stdout; exits with 1
on any difference.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from stream_app.cli.common import INTERRUPTED
from stream_app.settings import Settings
from tests.faults.cluster import Cluster
from tests.faults.report import Report
from tests.faults.rows import ROWS, SAMPLER
from tests.faults.stream import stream_settings
from tests.faults.trial import Row, run_trial
from tests.integration.principals import be_the_role_that_asks

_ROWS_HELP: Final = f"of {', '.join(row.name for row in ROWS)}; default: all, in the short dose {SAMPLER.name} only"


def main() -> None:
    """Entry point."""
    options = _parser().parse_args()
    report = Report(options.report)
    try:
        with pytest.MonkeyPatch.context() as patch:
            be_the_role_that_asks(patch)
            asyncio.run(_Suite(options, report).run())
    except asyncio.CancelledError:
        say("interrupted; the same command with the same --report goes on from here")
        sys.exit(INTERRUPTED)
    print(json.dumps(report.as_dict(), indent=1))
    sys.exit(0 if report.as_dict()["ok"] else 1)


def say(line: str) -> None:
    """Progress, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=_ROWS_HELP)
    parser.add_argument("--dose", choices=["short", "full"], default="full")
    parser.add_argument("--delivery", choices=["at-least-once", "exactly-once"], default="at-least-once")
    parser.add_argument("--seeds", type=int, help="runs per row; default: those of the dose")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="begin no run after so many minutes")
    parser.add_argument("--report", type=Path, metavar="FILE", help="kept up to date; what went well before is skipped")
    parser.add_argument("--kafka", metavar="VERSION", help="version of the embedded Kafka; default: the present one")
    parser.add_argument("--secure", action="store_true", help="a secured Kafka, each role with its rights alone")
    parser.add_argument("--dir", type=Path, help="folder of brokers and logs, kept; default: a temporary one")
    return parser


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="nextact-faults-") as directory:
        yield Path(directory)


class _Suite:
    """The chosen rows, one run after another on one cluster."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        self._options = options
        self._report = report
        self._short = options.dose == "short"
        unknown = set(options.rows) - {row.name for row in ROWS}
        if unknown:
            sys.exit(f"no such row: {', '.join(sorted(unknown))}")

    async def run(self) -> None:
        """All runs that are not in the report yet, within the budget."""
        # Both signals tidy up, also where a shell that started this in the background had SIGINT ignored.
        running = asyncio.current_task()
        assert running is not None
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, running.cancel)
        end = time.monotonic() + 60 * (self._options.budget or float("inf"))
        with _folder(self._options.dir) as directory:
            secure = directory / "secure" if self._options.secure else None
            cluster = Cluster(directory / "kafka", version=self._options.kafka, secure=secure)
            await cluster.start()
            try:
                for row, seed in self._runs():
                    if time.monotonic() > end:
                        say("the budget is spent; the same command with the same --report goes on from here")
                        return
                    await self._one(cluster, directory, row, seed)
            finally:
                await cluster.stop()

    def _runs(self) -> list[tuple[Row, int]]:
        names = self._options.rows or ([SAMPLER.name] if self._short else [row.name for row in ROWS])
        chosen = [row for row in ROWS if row.name in names]
        runs = [
            (row, seed)
            for row in chosen
            for seed in range(1, 1 + (self._options.seeds or (1 if self._short else row.runs)))
        ]
        return [(row, seed) for row, seed in runs if not self._report.is_done(**self._facts(row, seed))]

    def _facts(self, row: Row, seed: int) -> dict[str, Any]:
        return {"row": row.name, "seed": seed, "dose": self._options.dose, "delivery": self._options.delivery}

    async def _one(self, cluster: Cluster, directory: Path, row: Row, seed: int) -> None:
        facts = self._facts(row, seed)
        name = f"{row.name}-{seed}"
        place = directory / name
        settings = self._settings(cluster, name, place)
        try:
            found = await run_trial(
                row,
                seed,
                cluster=cluster,
                settings=settings,
                place=place,
                short=self._short,
                say=lambda line: say(f"{name}: {line}"),
            )
        except Exception:
            found = {"problems": [traceback.format_exc()]}
        self._report.add({"ok": not found["problems"], **found}, **facts)
        say(f"{name}: {'ok' if not found['problems'] else found['problems']}")

    def _settings(self, cluster: Cluster, name: str, place: Path) -> Settings:
        settings = stream_settings(cluster.addresses, name, place)
        changed: dict[str, Any] = {**cluster.connection, "delivery": self._options.delivery}
        if self._short:  # the dead are missed sooner; no broker allows less
            changed["session_timeout"] = 6.0
        return settings.model_copy(update=changed)


if __name__ == "__main__":
    main()
