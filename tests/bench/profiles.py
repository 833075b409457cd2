"""What `nextact profiles` takes, with so many users in the changelog: `python -m tests.bench profiles`.

Their records are made by the product's own encoder; the version has all of a profile. The command runs as a user runs
it: seconds from its start to its end, imports included, and the most memory that it had at once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from stream_app.settings import Settings
from tests.bench.made_up import described, profiled_version, records, stored_users
from tests.bench.recovery import LOG
from tests.bench.streams import Streams, fill
from tests.integration.running import environment

USERS: Final = (100_000, 1_000_000)


def profiles(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints a line for each number of users and returns the figures."""
    log = described(records(LOG, options.users, options.items))
    version = profiled_version(streams.place / "profiles", log, options.items)
    found = {}
    for users in options.sizes or USERS:
        settings = streams.new(version)
        fill(settings, settings.state_topic, stored_users(users, hidden=settings.hidden, actions=options.actions or 10))
        found[f"{users:,} users"] = row = _written(settings, streams.place / f"{users}.parquet", users)
        print(
            f"{users:9,} users: {row['seconds']:6.1f} s, {row['processor']:6.1f} s of the processor, "
            f"{row['peak_mib']:,.0f} MiB at the peak, a file of {row['file_mib']:,.0f} MiB",
            flush=True,
        )
    return found


def _written(settings: Settings, file: Path, users: int) -> dict[str, float]:
    command = ["profiles", "--out", str(file)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "stream_app", *command],
        env=environment(settings, command),
        stderr=subprocess.DEVNULL,  # progress
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"nextact profiles ended with {process.returncode}"
    rows = pq.read_metadata(file).num_rows
    assert rows == users, f"{rows} rows of {users} users"
    return {
        "seconds": round(seconds, 1),
        "processor": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
        "file_mib": round(file.stat().st_size / (1 << 20)),
    }
