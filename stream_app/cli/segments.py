"""`nextact segments`: lists and draws the groups of users that a version knows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from stream_app.cli.common import setting, settings_of


@click.group()
def segments() -> None:
    """See which groups of users a version of the model knows."""


@segments.command("list")
@click.option("--version", help="Of this version; default: the newest.")
@setting("registry")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines.")
def list_segments(version: str | None, as_json: bool, **options: Any) -> None:
    """Show the segments of a version, the largest first, and what became of those before."""
    import msgspec

    from stream_app.versions.segments import read_segments

    found = asyncio.run(read_segments(settings_of(options), version))
    for line in map(bytes.decode, map(msgspec.json.encode, found.lines())) if as_json else found.table():
        click.echo(line)


@segments.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--version", help="Of this version; default: the newest.")
@setting("registry")
def plot(folder: Path, version: str | None, **options: Any) -> None:
    """Draw how many users the segments of a version have and what sets them apart, as a picture in FOLDER."""
    from stream_app.offline.plots import check_drawing
    from stream_app.offline.profiles.segment_plot import draw_segments
    from stream_app.versions.segments import read_segments

    check_drawing()
    found = asyncio.run(read_segments(settings_of(options), version))
    click.echo(f"wrote {draw_segments(found.version, found.fitted, folder)}")
