"""`nextact statistics`: the process that counts events for the statistics of items."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import click

from stream_app.cli.common import importing, setting, settings_of, stoppable


@click.command()
@setting("brokers")
@setting("group")
@setting("http_port")
@setting("log_level")
@click.option("--with-parent", is_flag=True, help="End when standard input ends, as with the process that started it.")
def statistics(with_parent: bool, **options: Any) -> None:
    """Count events for the statistics of items; of several such processes one does, the others stand by.

    `nextact trainer` starts one beside its rounds.
    """
    settings = settings_of(options)
    with importing():
        from stream_app.statistics.live_counting import live_counting
        from stream_app.statistics.process import end_with_parent, run_statistics

    async def run(stop: asyncio.Event) -> None:
        if with_parent:
            end_with_parent(stop)
        await run_statistics(settings, stop, partial(live_counting, settings), serves=not with_parent)

    stoppable(run)
