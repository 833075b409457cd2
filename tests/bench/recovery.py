"""Seconds from a worker's start until it is ready, with so many users in the changelog; imports of Python included.

The changelog is written by the product's own encoder. A worker without users tells what of it is not recovery. Beside
it a stock Faust table with the same records as its values, which is measured once: it takes long.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from typing import Any, Final

from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion
from tests.bench.compare import Ratio, in_turn, seconds, show
from tests.bench.made_up import records, stored_users, version_of_a_log
from tests.bench.streams import LONGEST_S, Record, Streams, fill, peer, wait_for, workers

USERS: Final = (200_000, 1_000_000)
EMPTY: Final = "nextact, no users"
STOCK: Final = "stock Faust table"
LOG: Final = 50_000  # events that the version knows


def recovery(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns seconds, by number of users."""
    log = records(LOG, options.users, options.items)
    version = version_of_a_log(streams.place / "recovery", log, options.items)
    found = {}
    for users in options.sizes or USERS:
        found[f"{users:,} users"] = _of(streams, users, version, options)
    return found


def _of(streams: Streams, users: int, version: Promotion, options: argparse.Namespace) -> dict[str, Any]:
    own, empty = streams.new(version), streams.new(version)
    stored = list(stored_users(users, hidden=own.hidden, actions=(options.actions or 10.0)))
    fill(own, own.state_topic, stored)
    size = sum(len(key) + len(value) for key, value in stored) / users
    print(f"\n{users:,} users, {(options.actions or 10.0):g} actions each in the mean, {size:.0f} bytes a record")
    changelog, local = f"nextact, {users:,} users, changelog", f"nextact, {users:,} users, local store"
    runs: dict[str, Callable[[], float]] = {
        EMPTY: lambda: _anew(empty, 0),
        changelog: lambda: _anew(own, users),
        local: lambda: _ready(own, 0),
    }
    figures = in_turn(runs, options.repeats or 2)
    if users <= options.stock_users:
        figures[STOCK] = [_stock(streams, stored)]
    return show(figures, "seconds", (Ratio(STOCK, changelog, least=10), Ratio(changelog, EMPTY), Ratio(local, EMPTY)))


def _anew(settings: Settings, records: int) -> float:
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    return _ready(settings, records)


def _ready(settings: Settings, records: int) -> float:
    """Seconds until a worker is ready, which must have read so many records of the changelog by then."""
    start = time.perf_counter()
    with workers(settings, fresh=True) as running:
        running[0].wait_until(lambda: running[0].metric("nextact_ready") == 1, LONGEST_S)
        taken = time.perf_counter() - start
        read = running[0].metric("nextact_recovered_records_total")
        assert read == records, f"{read:.0f} records were read, not {records}"
        return taken


def _stock(streams: Streams, stored: list[Record]) -> float:
    """The same until a stock table has them."""
    own = streams.new()
    changelog = own.model_copy(update={"state_topic": f"{own.group}-users-changelog", "data_dir": own.data_dir})
    streams.make(changelog)
    fill(changelog, changelog.state_topic, stored)
    log = streams.place / f"{own.group}.log"

    def start() -> None:
        with peer("stock_table", own.brokers, own.events_topic, own.group, own.partitions, log=log) as process:
            wait_for(lambda: f"ready {len(stored)}" in log.read_text(), process, log, every=0.1)

    return seconds(start, time.perf_counter)
