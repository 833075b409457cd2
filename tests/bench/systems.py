"""The systems whose sustainable rates are compared: each answers every event with a record."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, Final

from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion
from tests.bench.made_up import described, profiled_version, records, version_of_a_log
from tests.bench.streams import LONGEST_S, PARTITIONS, POLL_S, Record, Streams, fill, peer, wait_for, workers
from tests.bench.variants import VARIANTS
from tests.integration.running import Running

OURS: Final = "ours"
ECHO: Final = "echo"
FUSED: Final = "nextact, fused"


@dataclass(frozen=True, slots=True)
class Batches:
    """How many batches a worker has computed, and for how many seconds its engine did."""

    count: float = 0.0
    seconds: float = 0.0

    def since(self, before: Batches) -> Batches:
        """Returns those after `before`."""
        return Batches(self.count - before.count, self.seconds - before.seconds)

    @classmethod
    def of(cls, worker: Running) -> Batches:
        """Reads the worker's metrics."""
        computed = [worker.metric("nextact_stage_seconds_sum", stage) for stage in ("step", "answer")]
        return cls(worker.metric("nextact_stage_seconds_count", "step"), sum(computed))


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """A system that runs, on topics of its own."""

    settings: Settings
    pid: int
    broker_pid: int
    wait_until: Callable[[Callable[[], bool]], None]  # fails with its log where it ends before
    batches: Callable[[], Batches]  # until now; of a peer none are known


@dataclass(frozen=True, slots=True)
class System:
    """How a system is called in JSON and in tables, and how it is started; it is ended with the context."""

    key: str
    name: str
    start: Callable[[], AbstractContextManager[RunningSystem]]


def systems(streams: Streams, options: argparse.Namespace) -> list[System]:
    """Returns ours and the peers that are installed.

    Ours is the worker with default settings and a version of the model that knows a log of `options.events` events,
    which it has answered before: its users have histories. It goes on from its local store whenever it is started.
    Peers begin with empty topics each time, as their groups would wait for the member that was killed.
    """
    log = described(records(options.events, options.users, options.items))
    path = streams.place / "sustainable"
    version = version_of_a_log(path, log, options.items)
    found = [
        System(OURS, FUSED, _ours(streams, version, log)),
        System(ECHO, "bare aiokafka echo", partial(_peer, streams, "bare_aiokafka")),
        System("stock", "stock Faust, the same job", partial(_peer, streams, "stock_job", PARTITIONS, path)),
    ]
    if find_spec("quixstreams") is None:
        print("Quix Streams is left out, as it is not installed: pip install 'nextact[bench]'")
    else:
        found.insert(
            1, System("quix", "Quix Streams, stateful counter", partial(_peer, streams, "quix_counter", "state"))
        )
    chosen = [VARIANTS[key] for key in options.variants]
    versions = {False: version}
    if any(one.profiled for one in chosen):
        versions[True] = profiled_version(streams.place / "sustainable-profiled", log, options.items)
    return found + [
        System(
            f"{OURS}_{one.key}",
            f"{FUSED}, {one.name}",
            _ours(streams.secured if one.secured else streams, versions[one.profiled], log, **one.changes),
        )
        for one in chosen
    ]


def _ours(streams: Streams, version: Promotion, log: Sequence[Record], **changes: Any) -> Callable[[], Any]:
    @cache
    def stream() -> Settings:
        own = streams.new(version, **changes)
        fill(own, own.events_topic, log)
        return own

    @contextmanager
    def start() -> Iterator[RunningSystem]:
        with streams.running(), workers(stream()) as running:
            wait = partial(running[0].wait_until, timeout=LONGEST_S, every=POLL_S)
            batches = partial(Batches.of, running[0])
            yield RunningSystem(stream(), running[0].pid, _broker_pid(streams), wait, batches)

    return start


@contextmanager
def _peer(streams: Streams, module: str, *more: object) -> Iterator[RunningSystem]:
    own = streams.new()
    log = own.data_dir / f"{module}.log"
    with peer(module, own.brokers, own.events_topic, own.predictions_topic, own.group, *more, log=log) as process:
        wait = partial(wait_for, process=process, log=log)
        yield RunningSystem(own, process.pid, _broker_pid(streams), wait, Batches)


def _broker_pid(streams: Streams) -> int:
    return next(iter(streams.broker.pids.values()))
