"""The command line: turns options into settings, and errors into one line and an exit code."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model.errors import NextactError
from stream_app.cli.audiences import audiences
from stream_app.cli.broker import broker
from stream_app.cli.common import CLEAR, INTERRUPTED, grouped, importing, setting, settings_of, stoppable
from stream_app.cli.dead_letters import dead_letters
from stream_app.cli.demo import demo
from stream_app.cli.evaluate import evaluate
from stream_app.cli.history import history
from stream_app.cli.items import items
from stream_app.cli.log_options import log_options
from stream_app.cli.models import models
from stream_app.cli.page import page
from stream_app.cli.segments import segments
from stream_app.cli.statistics import statistics
from stream_app.cli.users import profiles, users
from stream_app.sandbox.languages import LANGUAGES
from stream_app.settings import PREFIX, Settings

if TYPE_CHECKING:
    from stream_app.kafka.pace import Pace

# Commands import what they need themselves: PyTorch and Faust take seconds, and `--help` needs neither.


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nextact")
def cli() -> None:
    """Predicts what each shopper does next: Kafka in, a recurrent state per user, Kafka out."""


cli.add_command(audiences)
cli.add_command(broker)
cli.add_command(models)
cli.add_command(page)
cli.add_command(dead_letters)
cli.add_command(demo)
cli.add_command(evaluate)
cli.add_command(history)
cli.add_command(items)
cli.add_command(segments)
cli.add_command(statistics)
cli.add_command(users)
cli.add_command(profiles)


@cli.command()
@setting("brokers")
@click.option("--check", is_flag=True, help="Only check, create nothing.")
@click.option("--acls", is_flag=True, help="Only print the lines of kafka-acls that grant each role its rights.")
def topics(check: bool, acls: bool, **options: Any) -> None:
    """Create the topics of the contract where they are missing, and check those that exist."""
    from stream_app.contract.access import acl_lines
    from stream_app.kafka.topic_admin import ensure_topics

    if acls:
        click.echo("\n".join(acl_lines(settings_of(options))))
        return
    for topic in asyncio.run(ensure_topics(settings_of(options), create=not check)):
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
    settings = settings_of(options)
    with importing():
        from stream_app.worker.worker import run_worker

    stoppable(lambda stop: run_worker(settings, stop))


@cli.command()
@setting("brokers")
@setting("registry")
@setting("history")
@setting("history_days")
@setting("device")
@setting("threads")
@setting("backbone")
@click.option("--once", is_flag=True, help="Read all events, run one round, and end.")
@click.option("--every", type=float, help=f"Seconds between rounds. [{PREFIX}TRAIN_EVERY; default: 120]")
@setting("train_min_events")
@setting("http_port")
@setting("log_level")
def trainer(once: bool, every: float | None, **options: Any) -> None:
    """Learn from the events, publish versions that beat the champion.

    Several processes train one model together when torchrun starts them:
    `torchrun --nproc-per-node 2 --no-python nextact trainer`.
    """
    settings = settings_of(options | {"train_every": every})
    with importing():
        from stream_app.trainer.torchrun import launched, lead_or_follow
        from stream_app.trainer.trainer import run_trainer, train_once

    def lead() -> str | None:
        return asyncio.run(train_once(settings)) if once else stoppable(lambda stop: run_trainer(settings, stop))

    outcome = lead_or_follow(settings, lead) if launched() else lead()
    if outcome is not None:
        click.echo(outcome)
    if outcome == "failed":
        sys.exit(1)


@cli.command()
@click.argument("file")
@setting("brokers")
@log_options
@click.option("--rate", type=float, help="Events per second; default: as fast as possible.")
@click.option("--speed", type=float, help="Replay at the recorded pace, so many times as fast.")
def send(file: str, rate: float | None, speed: float | None, **options: Any) -> None:
    """Publish the events of FILE: CSV, JSON Lines or Parquet, also gzipped; - is standard input."""
    from stream_app.kafka.pace import Pace
    from stream_app.kafka.publisher import from_thread
    from stream_app.offline.event_files import event_file
    from stream_app.offline.row_files import STDIN

    log = event_file(file, options)
    events: Any = from_thread(log) if file == STDIN else log
    settings = settings_of({"brokers": options["brokers"]})
    _publish(settings, events, Pace(rate=rate, speed=speed), skipped=lambda: log.skipped)


@dataclass(frozen=True, slots=True)
class ShopOptions:
    """The options of `simulate` that describe the shop and the faults of its publisher."""

    rate: float
    items: int
    users: int
    poison: float
    duplicates: float
    plain: bool
    language: tuple[str, ...]
    seed: int


@cli.command()
@setting("brokers")
@click.option("--events", type=click.IntRange(min=1), help="How many that are answered; default: until Ctrl-C.")
@click.option("--rate", type=float, default=100, show_default=True, help="Records per second; 0: as fast as possible.")
@click.option("--items", type=click.IntRange(min=20), default=500, show_default=True, help="Size of the catalogue.")
@click.option("--users", type=click.IntRange(min=1), default=1000, show_default=True, help="Shoppers at the start.")
@click.option("--poison", type=click.FloatRange(0, 0.5), default=0, help="Share of records that are not events.")
@click.option("--duplicates", type=click.FloatRange(0, 0.5), default=0, help="Share of repeated events.")
@click.option("--plain", is_flag=True, help="One item an event; no catalogue, baskets, logins, lists or page views.")
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    multiple=True,
    default=("en",),
    help="Of searches; several may be given.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same shoppers.")
@grouped("shop", ShopOptions)
def simulate(events: int | None, shop: ShopOptions, brokers: str | None) -> None:
    """Publish the events of simulated shoppers with known habits."""
    import random

    from stream_app.kafka.pace import Pace
    from stream_app.sandbox.assortment import Assortment
    from stream_app.sandbox.simulate import Shop, with_duplicates, with_poison
    from stream_app.sandbox.site import AnsweredRecords, Site, catalogue_feed

    settings = settings_of({"brokers": brokers})
    simulated = Shop(
        shop.seed,
        start=time.time(),
        rate=shop.rate or 1000.0,
        items=shop.items,
        users=shop.users,
        languages=shop.language,
    )
    rng = random.Random(shop.seed)
    assortment = Assortment(simulated.catalogue, random.Random(shop.seed), round(1000 * time.time()))
    stream: Iterable[Any] = simulated.events(now=time.time)
    if not shop.plain:
        stream = Site(simulated.catalogue, assortment, random.Random(shop.seed)).records(stream)
    if shop.duplicates:
        stream = with_duplicates(stream, shop.duplicates, rng)
    if shop.poison:
        stream = with_poison(stream, shop.poison, rng)
    beside = None if shop.plain else catalogue_feed(assortment, settings)
    _publish(settings, AnsweredRecords(stream, events), Pace(rate=shop.rate or None), beside=beside)


@cli.command()
@setting("brokers")
@click.option("--user", help="Only predictions for this user.")
@click.option("--from-start", is_flag=True, help="From the oldest prediction on; default: new ones.")
@click.option("--json", "as_json", is_flag=True, help="The records as they are, one a line.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many; default: until Ctrl-C.")
def watch(user: str | None, from_start: bool, as_json: bool, count: int | None, **options: Any) -> None:
    """Show predictions as they come."""
    from stream_app.cli.watch import watch_predictions

    settings = settings_of(options)
    stoppable(
        lambda stop: watch_predictions(
            settings, stop, click.echo, user=user, from_start=from_start, as_json=as_json, count=count
        )
    )


@cli.command()
@setting("brokers")
@setting("device")
def doctor(**options: Any) -> None:
    """Check configuration, broker, topics and device; the exit code is 0 when nothing is wrong."""
    from stream_app.cli.doctor import check_setup

    given = {name for name, value in options.items() if value is not None}
    if not asyncio.run(check_setup(settings_of(options | {"log_level": "error"}), given, click.echo)):
        sys.exit(1)


@cli.command("compile")
@setting("cache_dir")
def compile_(**options: Any) -> None:
    """Compile what workers and trainers call, for the processor of this machine: the next start need not.

    A minute's work, for an image that is built or a folder that several workers have. Without it a worker compiles at
    its start what is missing.
    """
    settings = settings_of(options)
    with importing():
        from stream_app.cli.compile_ahead import compile_all

    found = compile_all(settings, click.echo)
    click.echo(f"{found.loops} compiled loops, {found.size / 1e6:.1f} MB, in {found.path}")


@cli.command()
@click.option("--write", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write to this folder.")
def schema(folder: Path | None) -> None:
    """Print the JSON Schemas of events, items and predictions, made from the code that reads and writes them.

    With --write they become files, beside an AsyncAPI document of the topics as they are set.
    """
    from stream_app.contract.documents import documents, prediction_schema
    from stream_app.contract.event_schema import event_schema
    from stream_app.contract.item_schema import item_schema

    if folder is None:
        schemas = {"event": event_schema(), "item": item_schema(), "prediction": prediction_schema()}
        click.echo(json.dumps(schemas, indent=2))
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents(settings_of({})).items():
        (folder / name).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / name}")


def _publish(
    settings: Settings,
    events: Iterable[Any],
    pace: Pace,
    *,
    skipped: Callable[[], int] = lambda: 0,
    beside: AbstractAsyncContextManager[None] | None = None,
) -> None:
    """Publishes with a progress line on a terminal; Ctrl-C flushes and counts what was handed over.

    `beside` is open meanwhile.
    """
    from stream_app.kafka.publisher import publish
    from stream_app.kafka.topic_admin import ensure_topics

    count = 0
    tty = sys.stderr.isatty()

    def progress(sent: int) -> None:
        nonlocal count
        count = sent
        if tty:
            click.echo(f"{CLEAR}{sent:,} events", nl=False, err=True)

    async def run() -> str:
        await ensure_topics(settings, "publisher")
        async with beside or nullcontext():
            sent = await publish(events, kafka=settings, topic=settings.events_topic, pace=pace, progress=progress)
        rate = sent.sent / max(sent.seconds, 1e-9)
        left_out = skipped() + sent.skipped
        return f"{sent.sent:,} events in {sent.seconds:.1f} s ({rate:,.0f}/s), {left_out:,} rows left out"

    try:
        line = asyncio.run(run())
    except KeyboardInterrupt:
        click.echo(f"{CLEAR if tty else ''}stopped after {count:,} events", err=True)
        sys.exit(INTERRUPTED)
    click.echo(f"{CLEAR if tty else ''}{line}", err=True)


def main() -> None:
    """Runs the command line: a user's mistake is one line and an exit code, never a traceback."""
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
        sys.stderr.close()  # the reader of our output has gone, and a message would fail, too
        sys.exit(1)
