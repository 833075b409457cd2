"""`nextact history`: shows and erases the events that the trainer has stored."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Any

import click

from stream_app.cli.common import setting, settings_of
from stream_app.cli.log_options import log_options


@click.group()
def history() -> None:
    """See what the trainer has stored, and erase users from it."""


@history.command("list")
@setting("history")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines.")
def list_history(as_json: bool, **options: Any) -> None:
    """Show the days (files, events, lists of what was shown, bytes, times), where it goes on, and what was imported."""
    import msgspec

    from stream_app.history.listing import days_table, imports_table, list_days, list_imports

    address = settings_of(options).history_address
    days, imports = list_days(address), list_imports(address)
    if as_json:
        lines = (msgspec.json.encode(one).decode() for one in (*days, *imports))
    else:
        lines = (line for table in (days_table(days), imports_table(imports)) for line in table)
    for line in lines:
        click.echo(line)


@history.command()
@setting("history")
@click.option("--users", required=True, metavar="FILE", help="User ids, one a line.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object at the end.")
def erase(users: str, as_json: bool, **options: Any) -> None:
    """Rewrite the files that have events of these users, or what they were shown, without them.

    The trainer must be stopped. What Kafka still has of the users is not touched: have it removed there first.
    """
    import msgspec

    from stream_app.history.event_history import EventHistory
    from stream_app.history.listing import read_users
    from stream_app.history.storage import HistoryStorage
    from stream_app.history.tables import events_table

    settings, user_ids = settings_of(options), read_users(users)
    stored = EventHistory(HistoryStorage(settings.history_address, events_table(settings.write_format)))
    try:
        erased = stored.erase(user_ids, lambda line: click.echo(line, err=True))
    finally:
        stored.close()
    what = f"{erased.rows:,} events and {erased.shown:,} shown lists of {erased.users:,} users"
    summary = f"{what} erased from {erased.files:,} files"
    click.echo(msgspec.json.encode(asdict(erased)).decode() if as_json else summary)


@history.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@setting("history")
@log_options
@click.option("--json", "as_json", is_flag=True, help="JSON Lines, one for each file.")
def import_files(files: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Bring a shop's past into the history: events of FILE... that the trainer learns from, and nobody is sent.

    CSV, JSON Lines or Parquet, also gzipped; - is standard input. A trainer may run meanwhile. What is there already
    does not come twice: import a file again when it has grown, or when an import was ended before it was done.
    """
    import time

    import msgspec

    from stream_app.history.importer import Importer
    from stream_app.offline.event_files import event_file
    from stream_app.offline.history_import import ImportProgress, import_logs
    from stream_app.offline.progress import ProgressLine

    logs = [event_file(file, options) for file in files]
    settings, line, begun = settings_of({"history": options["history"]}), ProgressLine(), time.monotonic()

    def show(progress: ImportProgress) -> None:
        rate = progress.rows / max(1e-9, time.monotonic() - begun)
        line(progress.file, f"{progress.rows:,} rows, {progress.imported:,} events imported, {rate:,.0f} rows/s")

    with closing(Importer(settings.history_address)) as importer:
        for summary in import_logs(importer, logs, time.time, show):
            line.close()
            click.echo(msgspec.json.encode(summary).decode() if as_json else str(summary))
            if 0 < settings.history_days < summary.days:
                kept = f"the trainer keeps events for {settings.history_days:g} before the newest"
                advice = "raise its NEXTACT_HISTORY_DAYS to have it learn from all"
                click.echo(f"{summary.file} goes back {summary.days:,.0f} days, and {kept}: {advice}", err=True)
