"""A shop's past beside live traffic: `python -m tests.bench past --events 1000000 --users 100000`.

A worker answers live events while the command imports a file, first into the history alone and then into users' states:
that is timed from the start of the command until the last user has their past. Live latencies come from the same load
before and meanwhile. At the end the changelog is compared with an engine that steps the same events one after the
other: of users without live events all but the hidden state, of the others actions and counts, as the time between
their past and what was live is estimated.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from model.data.events import Event, actions_of
from model.serving.state_engine import StateEngine
from model.state.user_record import unpack
from model.state.user_states import EVENT_ID_WINDOW, UserStates
from stream_app.settings import Settings
from tests.bench.open_loop import AiokafkaLoad, EventPool, LoadRun, percentiles
from tests.bench.streams import LONGEST_S, POLL_S, Streams, workers
from tests.integration.running import Running
from tests.integration.topics import read_all

RATE: Final = 300.0  # live events/s
BEFORE_S: Final = 10.0  # of live traffic before the import
_BEGIN_MS: Final = 1_600_000_000_000
_LIVE_USERS: Final = 2_000
_AT_ONCE: Final = 2_000  # events of a batch of the engine that is compared with


def past(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns the figures."""
    settings = streams.new(history=str(streams.place / "history"))
    path = streams.place / "past.parquet"
    events = made_up(options.events, options.users)
    pq.write_table(events, path)
    client = AiokafkaLoad(settings, EventPool(_LIVE_USERS, options.items))
    with workers(settings) as running:
        running[0].wait_ready(LONGEST_S)
        before = asyncio.run(client.run(RATE, BEFORE_S))
        history_s = _timed(settings, path, "--no-states")
        users = len(set(events["user_id"].to_pylist()))
        worker_s = running[0].processor_seconds
        meanwhile, states_s = asyncio.run(_beside(client, settings, path, running[0], users))
        worker_s = running[0].processor_seconds - worker_s
    found: dict[str, Any] = {
        "events": options.events,
        "users": users,
        "history_s": history_s,
        "states_s": states_s,
        "worker_processor_s": worker_s,
        "live_before": percentiles(before.latencies),
        "live_meanwhile": percentiles(np.concatenate([run.latencies for run in meanwhile])),
        "lost": before.lost + sum(run.lost for run in meanwhile),
    }
    print(
        f"history {options.events / history_s:,.0f} events/s; states {options.events / states_s:,.0f} events/s, "
        f"{worker_s:.1f} s of the worker's processor time\n"
        f"live before {found['live_before']}\nlive meanwhile {found['live_meanwhile']}",
        flush=True,
    )
    found["same"], found["with_live"] = _compare(settings, events)
    print(f"{found['same']:,} users are as if streamed, and {found['with_live']:,} with live events", flush=True)
    return found


def made_up(count: int, users: int) -> pa.Table:
    """Makes views of any users, in the order of time, some of them soon after another."""
    rng = np.random.default_rng(4)
    return pa.table(
        {
            "user_id": [f"user-{number}" for number in rng.integers(0, users, count).tolist()],
            "type": ["view"] * count,
            "item_id": [f"item-{number}" for number in rng.integers(0, 10_000, count).tolist()],
            "timestamp": _BEGIN_MS + np.cumsum(rng.integers(0, 2_000, count)),
            "session_id": [f"s{number // 50}" for number in range(count)],
            "event_id": [f"p{number}" for number in range(count)],
        }
    )


@contextmanager
def _importing(settings: Settings, path: Path, *options: str) -> Iterator[Running]:
    log = path.with_suffix(f".{time.monotonic_ns()}.log")
    command = Running(("history", "import", str(path), *options), settings, log, fresh=True)
    try:
        yield command
    finally:
        command.kill()


def _timed(settings: Settings, path: Path, *options: str) -> float:
    begin = time.monotonic()
    with _importing(settings, path, *options) as command:
        assert command.wait(LONGEST_S) == 0, command.log.read_text()
    return time.monotonic() - begin


async def _beside(
    client: AiokafkaLoad, settings: Settings, path: Path, worker: Running, users: int
) -> tuple[list[LoadRun], float]:
    """Imports while events come; returns what became of these, and how long it took until all users had their past."""

    def import_it() -> float:
        begin = time.monotonic()
        with _importing(settings, path) as command:
            worker.wait_until(lambda: worker.metric("nextact_joins_total", "past") >= users, LONGEST_S, every=POLL_S)
            took = time.monotonic() - begin
            assert command.wait(LONGEST_S) == 0, command.log.read_text()
        return took

    importing = asyncio.create_task(asyncio.to_thread(import_it))
    runs: list[LoadRun] = []
    while not importing.done():
        runs.append(await client.run(RATE, 5.0))
    return runs, await importing


def _compare(settings: Settings, events: pa.Table) -> tuple[int, int]:
    """Returns how many users without live events, and with them, are as if streamed. Raises `AssertionError`."""
    states = _streamed(settings, events)
    newest = {record.key.decode(): record.value for record in read_all(settings, settings.state_topic)}
    users = [user for user in dict.fromkeys(events["user_id"].to_pylist()) if newest.get(user)]
    stored = unpack([newest[user] for user in users], epoch=settings.stream_epoch, hidden=0, ids=EVENT_ID_WINDOW)
    slots = states.slots_of([0] * len(users), users)
    item_keys, contexts, sizes = states.histories.gather(slots)
    quiet = stored.rows["count"] == states.histories.counts[slots]
    for name, wanted in (
        ("last_time", states.last_times),
        ("session", states.sessions),
        ("event_ids", states.event_ids),
    ):
        assert np.array_equal(stored.rows[name][quiet], wanted[slots][quiet]), name
    for row, keys, context, size, alone in zip(stored.rows, item_keys, contexts, sizes, quiet, strict=True):
        live = int(row["count"]) - int(size) if not alone else 0
        found = row["actions"][: row["actions_size"]]
        past = found[: len(found) - live]
        assert np.array_equal(past["object"], keys[size - len(past) : size])
        assert not alone or np.array_equal(past["context"], context[:size])
    return int(quiet.sum()), int((~quiet).sum())


def _streamed(settings: Settings, events: pa.Table) -> UserStates:
    """Steps all events by an engine of its own, as a worker does."""
    states = UserStates(
        hidden=1, length=settings.history_length, epoch=settings.stream_epoch, device=torch.device("cpu")
    )
    engine, rows = StateEngine(states, rules_share=0.0), events.to_pylist()
    for begin in range(0, len(rows), _AT_ONCE):
        batch = rows[begin : begin + _AT_ONCE]
        times = [row.pop("timestamp") for row in batch]
        actions = actions_of([Event(**row) for row in batch], times)
        slots = engine.slots_of([0] * len(batch), actions.users)
        engine.step(slots, actions, np.arange(begin, begin + len(batch)))
    return states
