"""Events/s on a backlog, from the first output record to the last.

Ours does the whole job: decode, state, GRU step, ranking, prediction, durable changelog, `acks=all`. The peers do less,
but for "the same job": that is what they are there for. Kafka Streams is not among them: it would need Java code, and
a compiler for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, Final

from stream_app.settings import Settings
from stream_app.versions.promotions import Promotion
from tests.bench.compare import Ratio, in_turn, show
from tests.bench.made_up import described, profiled_version, records, version_of_a_log
from tests.bench.streams import (
    LONGEST_S,
    PARTITIONS,
    POLL_S,
    Record,
    Streams,
    bytes_per_record,
    fill,
    peer,
    predictions,
    rate,
    wait_for,
    workers,
    written,
)
from tests.bench.variants import VARIANTS, Variant

STOCK_LOOP: Final = "stock Faust, bare loop"
STOCK_JOB: Final = "stock Faust, the same job per event"
QUIX: Final = "Quix Streams, stateful counter"
BARE: Final = "bare aiokafka, decode and send"
FUSED: Final = "nextact, fused"
ALONE: Final = "nextact, network alone"
RULES: Final = "nextact, rules only"
EXACTLY_ONCE: Final = "nextact, fused, exactly-once"
DESCRIBED: Final = "nextact, fused, events with categories"  # which what is beside a profile has too
PROFILE: Final = "nextact, fused, profile"
WANTED: Final = (
    Ratio(ALONE, STOCK_LOOP, least=3.5),
    Ratio(ALONE, QUIX, least=1.0),
    Ratio(ALONE, STOCK_JOB, least=20),
    Ratio(FUSED, STOCK_LOOP, least=2.0),
    Ratio(EXACTLY_ONCE, FUSED, least=0.5),
    Ratio(PROFILE, DESCRIBED, least=0.7),
    Ratio(ALONE, BARE),
    Ratio(FUSED, BARE),
)
SCALING: Final = ((1, 1), (4, 1), (8, 1), (8, 2))  # partitions, workers

Contestants = dict[str, Callable[[], float]]


def throughput(streams: Streams, options: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns events/s; with `--scaling` ours by partitions and workers too."""
    log = records(options.events, options.users, options.items)
    fused = version_of_a_log(streams.place / "fused", log, options.items)
    backlog = streams.new()
    fill(backlog, backlog.events_topic, log)
    runs = _peers(streams, backlog, options, fused) | _ours(streams, backlog, options, fused)
    runs |= _profiled(streams, options, described(log))
    chosen = [VARIANTS[key] for key in options.variants if key not in ("exactly-once", "profile")]  # which are there
    runs |= {_named(one): _variant(streams, log, one, fused) for one in chosen}
    if options.scaling:
        runs |= _scaling(streams, log, fused)
    if options.only:
        runs = {name: run for name, run in runs.items() if any(_meant(word, name, runs) for word in options.only)}
    print(f"{options.events:,} events, {options.users:,} users, {options.items:,} items, {PARTITIONS} partitions;")
    print(f"  {STOCK_JOB}: {options.peer_events:,} events")
    wanted = [*WANTED, *(Ratio(_named(one), FUSED) for one in chosen)]
    return show(in_turn(runs, options.repeats or 3), "events/s", wanted)


def _meant(word: str, name: str, names: Iterable[str]) -> bool:
    return word == name if word in names else word in name


def _peers(streams: Streams, backlog: Settings, options: argparse.Namespace, version: Promotion) -> Contestants:
    def job() -> float:
        return _peer(streams, backlog, "stock_job", options.peer_events, PARTITIONS, streams.place / version.version)

    found: Contestants = {
        STOCK_LOOP: lambda: _stock_loop(streams, backlog, options.events),
        STOCK_JOB: job,
    }
    if find_spec("quixstreams") is None:
        print("Quix Streams is left out, as it is not installed: pip install 'nextact[bench]'")
    else:
        found[QUIX] = lambda: _peer(streams, backlog, "quix_counter", options.events, streams.place / "quix")
    found[BARE] = lambda: _peer(streams, backlog, "bare_aiokafka", options.events)
    return found


def _stock_loop(streams: Streams, backlog: Settings, events: int) -> float:
    group = streams.new().group
    log = streams.place / f"{group}.log"
    with peer("stock_loop", backlog.brokers, backlog.events_topic, events, group, log=log) as process:
        process.wait(LONGEST_S)
    return float(log.read_text().split()[-1])


def _peer(streams: Streams, backlog: Settings, module: str, events: int, *more: object) -> float:
    """A peer that writes an output record per event; so many are waited for, and all that came count."""
    own = streams.new()
    log = streams.place / f"{own.group}.log"
    arguments = (own.brokers, backlog.events_topic, own.predictions_topic, own.group, *more)

    def done() -> bool:
        return written(own, own.predictions_topic) >= events

    with peer(module, *arguments, log=log) as process:
        wait_for(done, process, log)
    return rate(own, own.predictions_topic)[1]


def _ours(streams: Streams, backlog: Settings, options: argparse.Namespace, version: Promotion) -> Contestants:
    def run(promotion: Promotion | None, **changes: Any) -> float:
        own = streams.new(promotion, events_topic=backlog.events_topic, profile="none", **changes)
        with workers(own) as running:
            running[0].wait_until(lambda: predictions(running) >= options.events, LONGEST_S, every=POLL_S)
        return _checked(streams, own, options.events)

    return {
        RULES: partial(run, None),
        ALONE: partial(run, version, ranked_by="network"),
        FUSED: partial(run, version),
        EXACTLY_ONCE: partial(run, version, delivery="exactly-once"),
    }


def _profiled(streams: Streams, options: argparse.Namespace, log: list[Record]) -> Contestants:
    """Ours on events with categories and brands, with all that is said of users, and with nothing of it."""

    @cache
    def prepared() -> tuple[Promotion, str]:
        backlog = streams.new()
        fill(backlog, backlog.events_topic, log)
        return profiled_version(streams.place / "profiled", log, options.items), backlog.events_topic

    def run(profile: str) -> float:
        version, events_topic = prepared()
        own = streams.new(version, events_topic=events_topic, profile=profile)
        with workers(own) as running:
            running[0].wait_until(lambda: predictions(running) >= len(log), LONGEST_S, every=POLL_S)
        return _checked(streams, own, len(log))

    return {DESCRIBED: partial(run, "none"), PROFILE: partial(run, Settings().profile)}


def _named(variant: Variant) -> str:
    return f"{FUSED}, {variant.name}"


def _variant(streams: Streams, log: list[Record], variant: Variant, version: Promotion) -> Callable[[], float]:
    """Ours with other settings, which the publisher of its backlog has too."""
    of = streams.secured if variant.secured else streams

    @cache
    def events_topic() -> str:
        backlog = of.new(**variant.changes)
        fill(backlog, backlog.events_topic, log)
        return backlog.events_topic

    def run() -> float:
        with of.running():
            own = of.new(version, events_topic=events_topic(), **variant.changes)
            with workers(own) as running:
                running[0].wait_until(lambda: predictions(running) >= len(log), LONGEST_S, every=POLL_S)
            return _checked(of, own, len(log))

    return run


def _scaling(streams: Streams, log: list[Record], version: Promotion) -> Contestants:
    """The workers share the partitions before the events come, at once: nobody works while they still join."""

    def run(partitions: int, count: int) -> float:
        own = streams.new(version, partitions=partitions)
        with workers(own, count) as running:
            running[0].wait_until(lambda: _shared(own, running), LONGEST_S)
            fill(own, own.events_topic, log)
            running[0].wait_until(lambda: predictions(running) >= len(log), LONGEST_S, every=POLL_S)
        return _checked(streams, own, len(log))

    return {f"{FUSED}: partitions {p}, workers {w}": partial(run, p, w) for p, w in SCALING}


def _shared(settings: Settings, running: list[Any]) -> bool:
    """Whether every worker is ready with its share of the partitions."""
    held = [worker.metric("nextact_partitions") for worker in running]
    ready = all(worker.metric("nextact_ready") for worker in running)
    return ready and all(held) and sum(held) == settings.partitions


def _checked(streams: Streams, settings: Settings, events: int) -> float:
    found, per_second = rate(settings, settings.predictions_topic)
    assert found == events, f"{found} predictions of {events} events"
    topics = {"prediction": settings.predictions_topic, "changelog record": settings.state_topic}
    sizes = {what: bytes_per_record(streams.broker, settings, topic) for what, topic in topics.items()}
    print(
        settings.compression, *(f"{size:,.0f} bytes per {what}" for what, size in sizes.items()), sep=", ", flush=True
    )
    return per_second
