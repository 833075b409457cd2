"""`nextact models`: lists, draws, promotes and rolls back the versions of the model."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from stream_app.cli.common import setting, settings_of


@click.group()
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

    from stream_app.versions.admin import list_models, models_table

    lines = asyncio.run(list_models(settings_of(options)))
    for line in map(bytes.decode, map(msgspec.json.encode, lines)) if as_json else models_table(lines):
        click.echo(line)


@models.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--version", help="The version whose losses are drawn; default: the newest.")
@setting("brokers")
@setting("registry")
def plot(folder: Path, version: str | None, **options: Any) -> None:
    """Draw the versions' quality over time, and the losses of one of them, as pictures in FOLDER."""
    from stream_app.errors import VersionUnusable
    from stream_app.offline.plots import check_drawing, draw_losses, draw_versions
    from stream_app.versions.admin import list_models, training_report

    check_drawing()
    settings = settings_of(options)
    lines = [line for line in asyncio.run(list_models(settings)) if line.recall_at_20 is not None]
    if not lines:
        raise VersionUnusable(f"no version in {settings.registry} has figures yet: the trainer's rounds write them")
    version = version or lines[-1].version
    report = asyncio.run(training_report(settings, version))
    for picture in (draw_versions(lines, folder), draw_losses(version, report.curve, folder)):
        click.echo(f"wrote {picture}")


@models.command()
@click.argument("version")
@setting("brokers")
@setting("registry")
@setting("hidden")
def promote(version: str, **options: Any) -> None:
    """Make VERSION the one that serves, after a look at every byte of it.

    Workers that could not read the serving version try it again when it is promoted again.
    """
    from stream_app.versions.admin import promote as make_champion

    click.echo(asyncio.run(make_champion(settings_of(options), version, datetime.now(UTC))))


@models.command()
@setting("brokers")
@setting("hidden")
def rollback(**options: Any) -> None:
    """Make the version serve that served before; a second time: the one before that.

    The trainer goes on from it, too. `promote` takes the newer one again.
    """
    from stream_app.versions.admin import roll_back

    click.echo(asyncio.run(roll_back(settings_of(options), datetime.now(UTC))))
