"""`nextact history`: shows and erases the events that the trainer has stored."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from stream_app.cli.common import setting, settings_of


@click.group()
def history() -> None:
    """See what the trainer has stored, and erase users from it."""


@history.command("list")
@setting("history")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines.")
def list_history(as_json: bool, **options: Any) -> None:
    """Show the days: files, events, lists of what was shown, bytes, the times of the records, and where it goes on."""
    import msgspec

    from stream_app.history.listing import days_table, list_days

    days = list_days(settings_of(options).history_address)
    for line in map(bytes.decode, map(msgspec.json.encode, days)) if as_json else days_table(days):
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
