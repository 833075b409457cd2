"""What a batch costs by its size and partitions: `python -m tests.bench batches`.

A worker's own pipeline in one thread, from records to encoded results, with a version of the default size and users
who have histories. Medians of processor time: what the engine takes of a core at so many batches a second, whatever
else the machine does. Kafka's and the event loops' share is not in it; `sustainable` has all of it.
With `--catalogue N` batches take turns: one without a catalogue, the next with one of so many items.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from statistics import median
from typing import Any, Final

import torch
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from model.items.catalogue import ItemCatalogue
from model.serving.state_engine import StateEngine
from model.state.user_states import RecordLookup, UserStates, nothing_stored
from stream_app.contract.items import decode_item
from stream_app.pipeline.metrics import WorkerMetrics
from stream_app.pipeline.pipeline import Pipeline
from stream_app.settings import load_settings
from tests.bench.items import record
from tests.bench.made_up import events, named, served_version, sessions

Records = Sequence["ConsumerRecord[bytes, bytes]"]

SHAPES: Final = ((1, 1), (4, 3), (14, 7), (64, 8), (512, 8), (4096, 8))  # events of a batch, and their partitions
STAGES: Final = ("decode", "step", "answer", "encode")
HISTORY_BATCH: Final = 4096  # events at once, before anything is timed
BATCHES: Final = 200  # of each shape; of large ones as many as MOST_EVENTS allow
MOST_EVENTS: Final = 40_000


def batches(options: argparse.Namespace) -> dict[str, Any]:
    """Prints a table of microseconds and returns it."""
    pipeline, log = new_pipeline(options), log_of(options)
    for _ in range(max(options.events // HISTORY_BATCH, 1)):
        through(pipeline, log(HISTORY_BATCH, 8))
    print(f"{'events':>8} {'partitions':>10} " + " ".join(f"{stage:>8}" for stage in (*STAGES, "all")) + "  us")
    found: dict[str, Any] = {}
    catalogues = _catalogues(options)
    for size, partitions in SHAPES:
        count, before = min(BATCHES, MOST_EVENTS // size), 0.0
        taken: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(count + 5):
            for name, pipeline.catalogue in catalogues.items():
                taken[name].append(through(pipeline, log(size, partitions)))
        for name, several in taken.items():
            row = {stage: round(1e6 * median(one[stage] for one in several[5:]), 1) for stage in STAGES}
            row["all"] = round(1e6 * median(sum(one.values()) for one in several[5:]), 1)
            found[f"{size} of {partitions}{name}"] = row
            share = f"  {row['all'] / before:.3f}{name}" if before else ""
            print(
                f"{size:8} {partitions:10} " + " ".join(f"{value:8,.0f}" for value in row.values()) + share, flush=True
            )
            before = row["all"]
    return found


def _catalogues(options: argparse.Namespace) -> dict[str, ItemCatalogue]:
    """An empty catalogue and, if one is asked for, one of so many items, all that the events are on among them."""
    found = {"": ItemCatalogue()}
    if options.catalogue:
        name = f" with {options.catalogue:,} items in the catalogue"
        found[name] = ItemCatalogue()
        count = max(options.catalogue, options.items)
        for first in range(0, count, HISTORY_BATCH):
            numbers = range(first, min(first + HISTORY_BATCH, count))
            changes = [
                decode_item(f"item-{number}".encode(), json.dumps(record(number)).encode()) for number in numbers
            ]
            found[name].apply([change.item for change in changes if change.item], [0] * len(numbers))
    return found


def new_pipeline(options: argparse.Namespace, stored: RecordLookup = nothing_stored) -> Pipeline:
    """Returns a worker's pipeline with a version that serves; `stored` reads the records of users."""
    settings, device = load_settings({}), torch.device("cpu")
    states = UserStates(
        hidden=settings.hidden,
        length=settings.history_length,
        epoch=settings.stream_epoch,
        device=device,
        most=settings.users_in_memory,
        stored=stored,
    )
    engine = StateEngine(states, rules_share=settings.rules_share)
    vocabulary = named(options.items)
    engine.serve(served_version(sessions(vocabulary, options.events), vocabulary, device))
    return Pipeline(engine, settings, WorkerMetrics(CollectorRegistry()), time.perf_counter)


def log_of(options: argparse.Namespace) -> Callable[[int, int], Records]:
    """Returns what gives the next so many records, of so many partitions, each partition's by offset."""
    made = events(sys.maxsize, options.users, options.items)
    ends: Counter[int] = Counter()

    def take(count: int, partitions: int) -> Records:
        by_partition: defaultdict[int, list[ConsumerRecord[bytes, bytes]]] = defaultdict(list)
        for event in islice(made, count):
            key = event["user_id"].encode()
            partition = key[-1] % partitions
            ends[partition] += 1
            by_partition[partition].append(_record(partition, ends[partition], key, json.dumps(event).encode()))
        return [record for several in by_partition.values() for record in several]

    return take


def _record(partition: int, offset: int, key: bytes, value: bytes) -> ConsumerRecord[bytes, bytes]:
    now = int(1000 * time.time())
    return ConsumerRecord("shop.events", partition, offset, now, 0, key, value, None, len(key), len(value), ())


def through(pipeline: Pipeline, taken: Records) -> dict[str, float]:
    """Returns the seconds that each stage took."""
    found: dict[str, float] = {}
    result: Any = taken
    for stage in STAGES:
        run = partial(pipeline.decode, generation=0) if stage == "decode" else getattr(pipeline, stage)
        start = time.thread_time()
        result = run(result)
        found[stage] = time.thread_time() - start
    return found
