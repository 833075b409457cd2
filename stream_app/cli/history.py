"""`nextact history`: shows and erases the events that the trainer has stored."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from stream_app.cli.common import setting, settings_of
from stream_app.cli.log_options import log_options

if TYPE_CHECKING:
    from stream_app.offline.history_import import ImportProgress, ImportSummary
    from stream_app.offline.past_events import PastEvents
    from stream_app.settings import Settings


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
@setting("brokers")
@log_options
@click.option("--states/--no-states", default=True, show_default=True, help="Into the users' states, too, by Kafka.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines, one for each file.")
def import_files(files: tuple[str, ...], states: bool, as_json: bool, **options: Any) -> None:
    """Bring in a shop's past: events of FILE... for the trainer and for users' states, which nobody is sent.

    CSV, JSON Lines or Parquet, also gzipped; - is standard input. Give several files in the order of time. Trainer and
    workers may run meanwhile. What is there already does not come twice: import a file again when it has grown, or when
    an import was ended before it was done.
    """
    from contextlib import ExitStack
    from dataclasses import replace

    import msgspec

    from stream_app.history.importer import Importer
    from stream_app.offline.event_files import event_file
    from stream_app.offline.history_import import import_logs

    logs = [event_file(file, options) for file in files]
    settings, shown = settings_of({name: options[name] for name in ("history", "brokers")}), _Shown()
    begin = _ready_for_states(settings) if states else None
    with closing(Importer(settings.history_address)) as importer:
        for log in logs:
            with ExitStack() as opened:
                past = opened.enter_context(_past_events(settings, begin)) if states else None
                take = past.add if past else (lambda _piece: None)
                (summary,) = import_logs(importer, [log], time.time, shown.rows, take)
                if past:
                    summary = replace(summary, users=_send_past(settings, past, summary, shown))
                shown.close()
                click.echo(msgspec.json.encode(summary).decode() if as_json else str(summary))
                if 0 < settings.history_days < summary.days:
                    click.echo(_longer_than_kept(summary, settings.history_days), err=True)


def _longer_than_kept(summary: ImportSummary, days: float) -> str:
    kept = f"the trainer keeps events for {days:g} before the newest"
    advice = "raise its NEXTACT_HISTORY_DAYS to have it learn from all"
    return f"{summary.file} goes back {summary.days:,.0f} days, and {kept}: {advice}"


class _Shown:
    """The progress of an import."""

    def __init__(self) -> None:
        from stream_app.offline.progress import ProgressLine

        self._line, self._begun = ProgressLine(), time.monotonic()
        self.close = self._line.close

    def rows(self, progress: ImportProgress) -> None:
        rate = progress.rows / max(1e-9, time.monotonic() - self._begun)
        told = f"{progress.rows:,} rows, {progress.imported:,} events imported, {rate:,.0f} rows/s"
        self._line(progress.file, told)

    def users(self, file: str, users: int, most: int) -> None:
        self._line(f"{file}, to the workers", f"{users:,} of {most:,} users")


def _ready_for_states(settings: Settings) -> int | None:
    """Looks whether workers can be sent a past; returns from when on users have the events already (ms)."""
    import asyncio

    from stream_app.offline.past_events import stream_begin
    from stream_app.offline.past_sender import check_joins_topic

    asyncio.run(check_joins_topic(settings))
    return stream_begin(settings.history_address)


def _past_events(settings: Settings, begin: int | None) -> PastEvents:
    from stream_app.offline.past_events import PastEvents

    return PastEvents(settings.partitions, settings.history_length, begin)


def _send_past(settings: Settings, past: PastEvents, summary: ImportSummary, shown: _Shown) -> int:
    """Sends a file's users to the workers and returns how many; says of an error what is done already."""
    import asyncio

    from stream_app.errors import UsageError
    from stream_app.offline.past_sender import send_past

    try:
        sent = asyncio.run(
            send_past(settings, past, lambda so_far: shown.users(summary.file, so_far.users, past.user_count))
        )
    except UsageError as error:
        shown.close()
        raise type(error)(
            f"{summary.file} is in the history, but not with all workers: {error}. Import it again then"
        ) from error
    return sent.users
