"""`nextact users`: who a user is to the system."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from stream_app.cli.common import setting, settings_of, show_progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream_app.contract.predictions import Prediction
    from stream_app.people.item_names import ItemNames
    from stream_app.settings import Settings


@click.group()
def users() -> None:
    """Look at what is known of users."""


@users.command()
@click.argument("user_id")
@setting("brokers")
@click.option("--last", type=click.IntRange(min=1), default=12, show_default=True, help="So many past actions.")
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON, the whole history.")
def show(user_id: str, last: int, as_json: bool, **options: Any) -> None:
    """Show history, preferences, segment, scores and recommendations of a user.

    Reads the newest records of the user from Kafka. The exit code is 1 for a user who is not known.
    """
    import msgspec

    from stream_app.dead_letters.listing import escaped
    from stream_app.people.newest_records import newest_records
    from stream_app.people.user_view import ReadUser, lines_of, view_of

    settings = settings_of(options)

    async def run() -> bool:
        began = time.monotonic()
        found = await newest_records(settings, user_id, lambda read: show_progress(f"{read:,} records read"))
        show_progress("")
        looked = f"looked at {found.read:,} records for {time.monotonic() - began:.1f} s"
        if found.state is None:
            click.echo(f"user {user_id!r} is not known on partition {found.partition}; {looked}", err=True)
            return False
        async with _names(settings, found.prediction) as names:
            view = view_of(ReadUser(user_id, found.partition, found.state, found.prediction), names.names_of)
            if as_json:
                click.echo(msgspec.json.encode(view).decode())
            else:
                for line in lines_of(view, names.title_of, most=last):
                    click.echo(escaped(line))
        click.echo(looked, err=True)
        return True

    if not asyncio.run(run()):
        sys.exit(1)


@click.command()
@setting("brokers")
@setting("device")
@click.option("--out", required=True, type=click.Path(dir_okay=False, writable=True), help="Parquet file to write.")
def profiles(out: str, **options: Any) -> None:
    """Write a row per user: preferences, segment, scores, next items and state, for pandas and the like.

    Reads the states of all users from Kafka, and asks the version that serves about each.
    """
    from pathlib import Path

    from stream_app.device import choose_device
    from stream_app.people.all_states import all_states
    from stream_app.people.asking import asking
    from stream_app.people.profile_rows import write_profiles

    settings = settings_of(options)

    async def run() -> int:
        ask = await asking(settings, choose_device(settings.device, fallback=settings.device_fallback))
        states = all_states(settings, lambda users: show_progress(f"{users:,} users"))
        return await write_profiles(Path(out), states, ask, settings.hidden)

    began = time.monotonic()
    rows = asyncio.run(run())
    show_progress("")
    click.echo(f"{rows:,} users in {out}, {time.monotonic() - began:.1f} s", err=True)


@asynccontextmanager
async def _names(settings: Settings, prediction: Prediction | None) -> AsyncIterator[ItemNames]:
    """Gives the names and titles of items: by the version that serves, the catalogue, and the prediction."""
    from model.items.catalogue import ItemCatalogue
    from stream_app.errors import UsageError
    from stream_app.items.lookup import whole_catalogue
    from stream_app.people.item_names import ItemNames, champions_vocabulary

    vocabulary = await champions_vocabulary(settings)
    recommended = [] if prediction is None else [item.item_id for item in prediction.recommendations]
    async with AsyncExitStack() as stack:
        items = ItemCatalogue()
        with suppress(UsageError):  # there is no catalogue
            reading = whole_catalogue(settings, lambda count: show_progress(f"{count:,} items read"))
            items = (await stack.enter_async_context(reading)).items
        show_progress("")
        yield ItemNames(vocabulary, items, recommended)
