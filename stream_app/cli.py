"""The command line. Each command is thin: options to settings, errors to one line and an exit code."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from model.errors import NextactError
from stream_app.errors import SettingsInvalid, UsageError
from stream_app.settings import PREFIX, Settings, load_settings

# Commands import what they need themselves: PyTorch and Faust take seconds, and `--help` needs neither.

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

CLEAR = "\r\033[K"  # the terminal's line
INTERRUPTED = 130  # as shells report SIGINT


def setting(name: str) -> Callable[[F], F]:
    """An option behind which stands the setting of the same name, so also its variable and its default."""
    field = Settings.model_fields[name]
    shown = f"[{PREFIX}{name.upper()}; default: {field.default}]"
    kind = field.annotation if field.annotation in (int, float) else str
    return click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{field.description or ''} {shown}".strip())


def stoppable(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Runs work that SIGINT and SIGTERM ask to stop."""

    async def run() -> T:
        stop = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        return await work(stop)

    return asyncio.run(run())


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nextact")
def cli() -> None:
    """Predicts what each shopper does next: Kafka in, a recurrent state per user, Kafka out."""


@cli.command()
@click.option("--seconds", type=click.FloatRange(min=1), help="Live time of the shop; without a bound: until Ctrl-C.")
@click.option("--events", type=click.IntRange(min=1), help="Events in all, the history included.")
@click.option("--rate", type=click.FloatRange(min=0.1), default=300, show_default=True, help="Live events per second.")
@click.option("--history", type=click.IntRange(min=0), default=20_000, show_default=True, help="Events before that.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulated shoppers.")
@setting("device")
def demo(seconds: float | None, events: int | None, rate: float, history: int, seed: int, **options: Any) -> None:
    """See all of it at work: Kafka, a worker, a trainer and a simulated shop, on this machine."""
    from stream_app.demo import DemoOptions, run_demo

    settings = _settings(options | {"log_level": "warning"})
    chosen = DemoOptions(seconds=seconds, events=events, rate=rate, history=history, seed=seed)

    async def run(stop: asyncio.Event) -> bool:
        summary = await run_demo(settings, chosen, stop, click.echo)
        click.echo(json.dumps(asdict(summary)))
        return stop.is_set()

    if stoppable(run):
        sys.exit(INTERRUPTED)


@cli.command()
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where the records are kept. [NEXTACT_DATA_DIR/kafka]"
)
@click.option("--port", type=click.IntRange(0, 65535), default=9092, show_default=True, help="First node's; 0: free.")
@click.option("--nodes", type=click.IntRange(1, 9), default=1, show_default=True, help="Brokers of the cluster.")
def broker(data_dir: Path | None, port: int, nodes: int) -> None:
    """Run a real Apache Kafka here, without Docker or Java on the system; Ctrl-C stops it."""
    from stream_app.broker import Broker

    settings = _settings({})
    place = data_dir or settings.data_dir / "kafka"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Broker(place, nodes=nodes, port=port, report=click.echo) as running:
        click.echo(f"Kafka listens at {running.bootstrap_servers}, data in {place}. Ctrl-C stops it.")
        try:
            running.wait()
        except KeyboardInterrupt:
            click.echo("stopping ...")


@cli.command()
@setting("brokers")
@click.option("--check", is_flag=True, help="Make nothing, only check.")
def topics(check: bool, **options: Any) -> None:
    """Make the topics of the contract where they are missing, and check those that exist."""
    from stream_app.topics import ensure_topics

    for topic in asyncio.run(ensure_topics(_settings(options), create=not check)):
        state = "made" if topic.created else "ok"
        click.echo(f"{state:5} {topic.name}  {topic.partitions} partitions, {topic.replicas} replicas")


@cli.command()
@setting("brokers")
@setting("group")
@setting("device")
@setting("threads")
@setting("batch_size")
@setting("delivery")
@setting("rules_share")
@setting("http_port")
@setting("log_level")
def worker(**options: Any) -> None:
    """Consume events, publish predictions. Start more of them to share the partitions."""
    settings = _settings(options)
    from stream_app.worker import run_worker

    stoppable(lambda stop: run_worker(settings, stop))


@cli.command()
@setting("brokers")
@setting("registry")
@setting("device")
@setting("threads")
@setting("backbone")
@click.option("--once", is_flag=True, help="Read all events, run one round, and end.")
@click.option("--every", type=float, help=f"Seconds between rounds. [{PREFIX}TRAIN_EVERY; default: 300]")
@setting("train_min_events")
@setting("http_port")
@setting("log_level")
def trainer(once: bool, every: float | None, **options: Any) -> None:
    """Learn from the events, publish versions that beat the champion."""
    settings = _settings(options | {"train_every": every})
    from stream_app.trainer import run_trainer, train_once

    if not once:
        stoppable(lambda stop: run_trainer(settings, stop))
        return
    outcome = asyncio.run(train_once(settings))
    click.echo(outcome)
    if outcome == "failed":
        sys.exit(1)


@cli.group()
def models() -> None:
    """See the versions of the model, and choose which of them serves."""


@models.command("list")
@setting("brokers")
@setting("registry")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines.")
def list_versions(as_json: bool, **options: Any) -> None:
    """Show the versions, oldest first: what they learned from, how good they were, which serves.

    Recall@20 is that of the version, of the champion before it and of the rules on the same held-out events. Sizes of
    files are compared, hashes are not: `promote` does that.
    """
    import msgspec

    from stream_app.models import list_models, table

    found = asyncio.run(list_models(_settings(options)))
    for line in map(bytes.decode, map(msgspec.json.encode, found)) if as_json else table(found):
        click.echo(line)


@models.command()
@click.argument("version")
@setting("brokers")
@setting("registry")
@setting("hidden")
def promote(version: str, **options: Any) -> None:
    """Make VERSION the one that serves, after a look at every byte of it.

    Workers that could not read the serving version try it again when it is promoted again.
    """
    from stream_app.models import promote as make_champion

    click.echo(asyncio.run(make_champion(_settings(options), version, datetime.now(UTC))))


@models.command()
@setting("brokers")
@setting("hidden")
def rollback(**options: Any) -> None:
    """Make the version serve that served before; a second time: the one before that.

    The trainer goes on from it, too. `promote` takes the newer one again.
    """
    from stream_app.models import roll_back

    click.echo(asyncio.run(roll_back(_settings(options), datetime.now(UTC))))


@cli.command()
@click.argument("file")
@setting("brokers")
@click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Which column holds a field.")
@click.option("--type-map", "types", multiple=True, metavar="NAME=TYPE", help="A type by another name; NAME= skips it.")
@click.option("--type", "constant_type", help="The type of all events, for files without a column of types.")
@click.option("--timezone", default="UTC", show_default=True, help="Of timestamps that name none.")
@click.option("--time-unit", type=click.Choice(["auto", "s", "ms"]), default="auto", show_default=True)
@click.option("--format", "file_format", type=click.Choice(["auto", "csv", "tsv", "jsonl", "parquet"]), default="auto")
@click.option("--rate", type=float, help="Events per second; default: as fast as possible.")
@click.option("--speed", type=float, help="Replay at the recorded pace, so many times as fast.")
def send(
    file: str,
    columns: tuple[str, ...],
    types: tuple[str, ...],
    constant_type: str | None,
    timezone: str,
    time_unit: Any,
    file_format: Any,
    rate: float | None,
    speed: float | None,
    **options: Any,
) -> None:
    """Publish the events of FILE: CSV, JSON Lines or Parquet, also gzipped; - is standard input."""
    from stream_app.pace import Pace
    from stream_app.read_events import STDIN, EventLog
    from stream_app.send import from_thread
    from stream_app.wire import TYPE_NAMES

    log = EventLog(
        file,
        columns=_pairs("--column", columns),
        types={name: kind or None for name, kind in _pairs("--type-map", types).items()},
        constant_type=constant_type,
        timezone=timezone,
        time_unit=time_unit,
        format=file_format,
        known_types=TYPE_NAMES.keys(),
    )
    events: Any = from_thread(log) if file == STDIN else log
    _publish(_settings(options), events, Pace(rate=rate, speed=speed), skipped=lambda: log.skipped)


@cli.command()
@setting("brokers")
@click.option("--events", type=click.IntRange(min=1), help="How many; default: until Ctrl-C.")
@click.option("--rate", type=float, default=100, show_default=True, help="Events per second; 0: as fast as possible.")
@click.option("--items", type=click.IntRange(min=20), default=500, show_default=True, help="Size of the catalogue.")
@click.option("--users", type=click.IntRange(min=1), default=1000, show_default=True, help="Shoppers at the start.")
@click.option("--poison", type=click.FloatRange(0, 0.5), default=0, help="Share of records that are no events.")
@click.option("--duplicates", type=click.FloatRange(0, 0.5), default=0, help="Share of repeated events.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same shoppers.")
def simulate(
    events: int | None,
    rate: float,
    items: int,
    users: int,
    poison: float,
    duplicates: float,
    seed: int,
    **options: Any,
) -> None:
    """Publish the events of simulated shoppers with known habits."""
    import random

    from stream_app.pace import Pace
    from stream_app.simulate import Shop, with_duplicates, with_poison

    shop = Shop(seed, start=time.time(), rate=rate or 1000.0, items=items, users=users)
    rng = random.Random(seed)
    stream: Iterable[Any] = shop.events(events, now=time.time)
    if duplicates:
        stream = with_duplicates(stream, duplicates, rng)
    if poison:
        stream = with_poison(stream, poison, rng)
    _publish(_settings(options), stream, Pace(rate=rate or None), skipped=lambda: 0)


@cli.command()
@setting("brokers")
@click.option("--user", help="Only predictions for this user.")
@click.option("--from-start", is_flag=True, help="From the oldest prediction on; default: new ones.")
@click.option("--json", "as_json", is_flag=True, help="The records as they are, one a line.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many; default: until Ctrl-C.")
def watch(user: str | None, from_start: bool, as_json: bool, count: int | None, **options: Any) -> None:
    """Show predictions as they come."""
    from stream_app.watch import watch_predictions

    settings = _settings(options)
    stoppable(
        lambda stop: watch_predictions(
            settings, stop, click.echo, user=user, from_start=from_start, as_json=as_json, count=count
        )
    )


@cli.group("dead-letters")
def dead_letters() -> None:
    """Look at records that are no events, and publish them again after a fix."""


@dead_letters.command("list")
@setting("brokers")
@click.option("--reason", "reasons", multiple=True, metavar="WORD", help="Only those; repeatable.")
@click.option("--partition", "partitions", multiple=True, type=click.IntRange(min=0), help="Only those; repeatable.")
@click.option("--since", help="Dead since: 30m, 2h, 7d, or 2026-01-31T12:00:00Z.")
@click.option("--limit", type=click.IntRange(min=1), help="The newest so many, in order of time; default: all.")
@click.option("--json", "as_json", is_flag=True, help="Whole, as JSON Lines; bytes that are no UTF-8 as base64.")
def list_(
    reasons: tuple[str, ...],
    partitions: tuple[int, ...],
    since: str | None,
    limit: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show dead letters: time, where the record lies, why it is no event, key and start of the value.

    A line is cut to the terminal. The values may be personal data. A summary by reason goes to standard error.
    """
    from stream_app import list_dead_letters as listing
    from stream_app.read_dead_letters import Selection, time_of

    since_ms = None if since is None else time_of(since, time.time())
    newest = None if reasons else limit
    selection = Selection(frozenset(reasons), frozenset(partitions), since_ms, newest=newest)
    width = shutil.get_terminal_size((160, 24)).columns
    found = asyncio.run(
        listing.list_dead_letters(
            _settings(options),
            selection,
            lambda letter: click.echo(listing.as_json(letter) if as_json else listing.line(letter, width)),
            _reading,
            limit=limit,
        )
    )
    click.echo(listing.summary(found), err=True)


@dead_letters.command()
@setting("brokers")
@setting("group")
@click.option("--all", "everything", is_flag=True, help="All that were not replayed yet.")
@click.option("--reason", "reasons", multiple=True, metavar="WORD", help="Only those; repeatable.")
@click.option("--partition", "partitions", multiple=True, type=click.IntRange(min=0), help="Only those; repeatable.")
@click.option("--offset", type=click.IntRange(min=0), help="From this one on, in the one --partition.")
@click.option("--from-beginning", "from_start", is_flag=True, help="Whatever was replayed before, too.")
@click.option("--limit", type=click.IntRange(min=1), help="Publish no more than so many; the next call goes on.")
@click.option("--again", is_flag=True, help="Also records that a replay has published before; three times at most.")
@click.option("--dry-run", is_flag=True, help="Only count.")
def replay(
    everything: bool,
    reasons: tuple[str, ...],
    partitions: tuple[int, ...],
    offset: int | None,
    from_start: bool,
    limit: int | None,
    again: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Publish the original records of dead letters to the events topic again, after a fix.

    Key, value and headers are as they were; the header nextact.replay counts the replays, nextact.replay.partition and
    .offset name the dead letter. A record is new: it has a new timestamp, goes to the partition of its key, comes after
    all that its user has done since, and gets a prediction, or becomes a dead letter again.

    Called again, it goes on where it ended, for each reason and partition: the positions are those of the consumer
    groups GROUP-dead-letter-replay.REASON, committed when the broker has acknowledged the records. A broken call may
    repeat a few records. Kafka forgets positions of groups that are not used (7 days by default).

    --offset and --from-beginning begin elsewhere, and so publish again what was published from there before.
    """
    from stream_app.read_dead_letters import Selection
    from stream_app.replay_dead_letters import ReplayOptions, outcome, replay_dead_letters

    if everything == bool(reasons or partitions):
        raise UsageError("say which dead letters: --all, or --reason and --partition")
    if offset is not None and (len(partitions) != 1 or from_start):
        raise UsageError("--offset needs one --partition, and no --from-beginning")
    settings = _settings(options)
    selection = Selection(frozenset(reasons), frozenset(partitions), offset=offset)
    how = ReplayOptions(again=again, from_start=from_start or offset is not None, limit=limit, dry_run=dry_run)
    done = stoppable(lambda stop: replay_dead_letters(settings, selection, how, stop, _reading))
    click.echo(outcome(done, dry_run))


def _reading(read: int, total: int) -> None:
    """Progress on a terminal."""
    if sys.stderr.isatty():
        click.echo(f"{CLEAR}{read:,} of {total:,} read" if read < total else CLEAR, nl=False, err=True)


@cli.command()
@setting("brokers")
@setting("device")
def doctor(**options: Any) -> None:
    """Check configuration, broker, topics and device; the exit code is 0 when all is well."""
    from stream_app.doctor import examine

    given = {name for name, value in options.items() if value is not None}
    if not asyncio.run(examine(_settings(options | {"log_level": "error"}), given, click.echo)):
        sys.exit(1)


@cli.command()
@click.option("--write", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write to this folder.")
def schema(folder: Path | None) -> None:
    """Print the JSON Schemas of events and predictions, made from the code that reads and writes them.

    With --write they become files, beside an AsyncAPI document of the topics as they are set.
    """
    from stream_app.asyncapi import documents, event_schema, prediction_schema

    if folder is None:
        click.echo(json.dumps({"event": event_schema(), "prediction": prediction_schema()}, indent=2))
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents(_settings({})).items():
        (folder / name).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / name}")


def _publish(settings: Settings, events: Any, pace: Any, *, skipped: Callable[[], int]) -> None:
    """Publishes with a progress line on a terminal; Ctrl-C flushes what was handed over and counts it."""
    from stream_app.send import publish
    from stream_app.topics import ensure_topics

    count = 0
    tty = sys.stderr.isatty()

    def progress(sent: int) -> None:
        nonlocal count
        count = sent
        if tty:
            click.echo(f"{CLEAR}{sent:,} events", nl=False, err=True)

    async def run() -> str:
        await ensure_topics(settings)
        sent = await publish(events, kafka=settings.brokers, topic=settings.events_topic, pace=pace, progress=progress)
        rate = sent.sent / max(sent.seconds, 1e-9)
        left_out = skipped() + sent.skipped
        return f"{sent.sent:,} events in {sent.seconds:.1f} s ({rate:,.0f}/s), {left_out:,} rows left out"

    try:
        line = asyncio.run(run())
    except KeyboardInterrupt:
        click.echo(f"{CLEAR if tty else ''}stopped after {count:,} events", err=True)
        sys.exit(INTERRUPTED)
    click.echo(f"{CLEAR if tty else ''}{line}", err=True)


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, separator, _ in pairs:
        if not name or not separator:
            raise SettingsInvalid(f"{option} {name!r}: give two names with = between them")
    return {name: value for name, _, value in pairs}


def _settings(options: dict[str, Any]) -> Settings:
    settings = load_settings(options)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if settings.log_level != "debug":
        for library in ("aiokafka", "faust", "mode"):
            logging.getLogger(library).setLevel("WARNING")
    return settings


def main() -> None:
    """Entry point: a user's mistake is one line and an exit code, never a traceback."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except NextactError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing more to say
        sys.exit(1)
