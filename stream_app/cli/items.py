"""`nextact items`: publishes a catalogue, and shows what is in it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import click

from stream_app.cli.common import CLEAR, INTERRUPTED, setting, settings_of, show_progress
from stream_app.cli.log_options import log_options, table_options
from stream_app.errors import UsageError
from stream_app.settings import Settings


@click.group()
def items() -> None:
    """Publish what the shop sells, and look at it."""


@items.command()
@click.argument("file")
@setting("brokers")
@table_options
@click.option("--rate", type=float, help="Items per second; default: as fast as possible.")
def send(file: str, rate: float | None, **options: Any) -> None:
    """Publish the items of FILE: CSV, JSON Lines or Parquet, also gzipped; - is standard input.

    Columns are called as the fields of a record are (`nextact schema`), the id's `item_id`. Lists and objects (tags,
    markets, attributes) are JSON in their cells. Rows that are not items are left out, with exit code 1.
    """
    from stream_app.kafka.pace import Pace
    from stream_app.kafka.publisher import from_thread, publish
    from stream_app.kafka.topic_admin import ensure_topics
    from stream_app.offline.item_files import item_file
    from stream_app.offline.row_files import STDIN

    rows, settings = item_file(file, options), settings_of({"brokers": options["brokers"]})
    records: Any = from_thread(rows) if file == STDIN else rows
    handed = 0

    def progress(sent: int) -> None:
        nonlocal handed
        handed = sent
        show_progress(f"{sent:,} items")

    async def run() -> Any:
        await ensure_topics(settings, "publisher", settings.items_topic)
        pace = Pace(rate=rate)
        return await publish(records, kafka=settings, topic=settings.items_topic, pace=pace, progress=progress)

    try:
        sent = asyncio.run(run())
    except KeyboardInterrupt:
        click.echo(f"{_clear()}stopped after {handed:,} items", err=True)
        sys.exit(INTERRUPTED)
    left_out = rows.left_out + sent.skipped
    rest = f", {left_out:,} rows left out" if left_out else ""
    rest += f"; the first is {rows.first_fault}" if rows.first_fault else ""
    click.echo(f"{_clear()}{sent.sent:,} items in {sent.seconds:.1f} s{rest}", err=True)
    sys.exit(1 if left_out else 0)


@items.command()
@click.argument("item_id")
@setting("brokers")
def show(item_id: str, **options: Any) -> None:
    """Show all that the catalogue has of an item, as JSON; the exit code is 1 where it is not there."""
    from stream_app.items.lookup import as_record

    def find(local: Any) -> str | None:
        row = local.items.row_of(item_id)
        return None if row < 0 else json.dumps(as_record(local, row), indent=2, ensure_ascii=False)

    found = _read(settings_of(options), find)
    if found is None:
        click.echo(f"there is no item {item_id!r} in the catalogue", err=True)
        sys.exit(1)
    click.echo(found)


@items.command("list")
@setting("brokers")
@click.option("--limit", type=click.IntRange(min=1), help="So many items; default: all.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines, with all that is known of each.")
def list_(limit: int | None, as_json: bool, **options: Any) -> None:
    """Show the items: id, title, category, brand, price; the newest in the catalogue last."""
    import numpy as np

    from stream_app.dead_letters.listing import escaped
    from stream_app.items.lookup import as_record, line

    width = shutil.get_terminal_size((160, 24)).columns

    def say_all(local: Any) -> int:
        rows = np.flatnonzero(local.items.column("ids"))
        for row in rows[:limit].tolist():
            said = json.dumps(as_record(local, row), ensure_ascii=False) if as_json else None
            click.echo(said or escaped(line(local.items.item(row), width)))
        return len(rows)

    count = _read(settings_of(options), say_all)
    click.echo(f"{count:,} items in the catalogue", err=True)


@items.command()
@setting("brokers")
@click.option("--events", "-e", "logs", multiple=True, metavar="FILE", help="A log: how many of its items are there?")
@log_options
def check(logs: tuple[str, ...], **options: Any) -> None:
    """Say what the catalogue has and lacks: fields, scripts of the titles, variants, markets, the items of a log."""
    from stream_app.items.check import coverage_lines, report_of

    counts = _items_of(logs, options)

    def examine(local: Any) -> list[str]:
        said = report_of(local.items).lines()
        return said + (coverage_lines(counts, lambda item: local.items.row_of(item) >= 0) if logs else [])

    for said in _read(settings_of({"brokers": options["brokers"]}), examine):
        click.echo(said)


def _items_of(logs: tuple[str, ...], options: dict[str, Any]) -> Counter[str]:
    """Counts the events of logs by item."""
    import pyarrow.compute as pc

    from stream_app.offline.event_files import event_file
    from stream_app.offline.log_reader import LogReader

    counts: Counter[str] = Counter()
    reader = LogReader(progress=lambda rows: show_progress(f"{rows:,} events"))
    for log in logs:
        for batch in reader.batches(event_file(log, options)):
            named = batch.filter(pc.and_(batch["item_id"].is_valid(), pc.not_equal(batch["type"], "search")))
            counts.update({one["values"]: one["counts"] for one in named["item_id"].value_counts().to_pylist()})
    return counts


def _read(settings: Settings, use: Callable[[Any], Any]) -> Any:
    """Reads the catalogue and returns what `use` makes of it. Raises `UsageError` where there is nothing in it."""
    from stream_app.items.lookup import whole_catalogue

    async def run() -> Any:
        async with whole_catalogue(settings, lambda count: show_progress(f"{count:,} items read")) as local:
            show_progress("")
            if not len(local.items):
                raise UsageError(f"the catalogue is empty: topic {settings.items_topic} has no items")
            return use(local)

    return asyncio.run(run())


def _clear() -> str:
    return CLEAR if sys.stderr.isatty() else ""
