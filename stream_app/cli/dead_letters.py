"""`nextact dead-letters`: lists records that are not events, and publishes them again."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass
from typing import Any

import click

from stream_app.cli.common import CLEAR, grouped, setting, settings_of, stoppable
from stream_app.errors import UsageError


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at records that are not events, and publish them again after a fix."""


@dead_letters.command("list")
@setting("brokers")
@click.option("--reason", "reasons", multiple=True, metavar="WORD", help="Only those; repeatable.")
@click.option("--partition", "partitions", multiple=True, type=click.IntRange(min=0), help="Only those; repeatable.")
@click.option("--since", help="Dead since: 30m, 2h, 7d, or 2026-01-31T12:00:00Z.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest, so many; default: all.")
@click.option("--json", "as_json", is_flag=True, help="Whole records, as JSON Lines; bytes other than UTF-8 as base64.")
def list_(
    reasons: tuple[str, ...],
    partitions: tuple[int, ...],
    since: str | None,
    limit: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show dead letters: time, where the record lies, why it is not an event, key and start of the value.

    A line is cut to the terminal. The values may be personal data. A summary by reason goes to standard error.
    """
    from stream_app.dead_letters import listing
    from stream_app.dead_letters.reader import Selection, time_of

    since_ms = None if since is None else time_of(since, time.time())
    newest = None if reasons else limit
    selection = Selection(frozenset(reasons), frozenset(partitions), since_ms, newest=newest)
    width = shutil.get_terminal_size((160, 24)).columns
    counts = asyncio.run(
        listing.list_dead_letters(
            settings_of(options),
            selection,
            lambda letter: click.echo(listing.as_json(letter) if as_json else listing.line(letter, width)),
            _show_progress,
            limit=limit,
        )
    )
    click.echo(listing.summary(counts), err=True)


@dataclass(frozen=True, slots=True)
class ReplayFlags:
    """The options of `replay` that are not settings."""

    everything: bool
    reasons: tuple[str, ...]
    partitions: tuple[int, ...]
    offset: int | None
    from_start: bool
    limit: int | None
    again: bool
    dry_run: bool


@dead_letters.command()
@setting("brokers")
@setting("group")
@click.option("--all", "everything", is_flag=True, help="All that were not replayed yet.")
@click.option("--reason", "reasons", multiple=True, metavar="WORD", help="Only those; repeatable.")
@click.option("--partition", "partitions", multiple=True, type=click.IntRange(min=0), help="Only those; repeatable.")
@click.option("--offset", type=click.IntRange(min=0), help="Start at this offset of the one --partition.")
@click.option("--from-beginning", "from_start", is_flag=True, help="Include what was replayed before.")
@click.option("--limit", type=click.IntRange(min=1), help="Publish no more than so many; the next call goes on.")
@click.option("--again", is_flag=True, help="Also records that a replay has published before; three times at most.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@grouped("flags", ReplayFlags)
def replay(flags: ReplayFlags, **options: Any) -> None:
    """Publish the original records of dead letters to their topic again, events or items, after a fix.

    Key, value and headers are as they were; the header nextact.replay counts the replays, nextact.replay.partition and
    .offset name the dead letter. A record is new: it has a new timestamp, goes to the partition of its key, comes after
    all that its user has done since, and gets a prediction, or becomes a dead letter again.

    Called again, it goes on where it ended, for each reason and partition: the positions are those of the consumer
    groups GROUP-dead-letter-replay.REASON, committed when the broker has acknowledged the records. A broken call may
    repeat a few records. Kafka forgets positions of groups that are not used (7 days by default).

    --offset and --from-beginning begin elsewhere, and so publish again what was published from there before.
    """
    from stream_app.dead_letters.reader import Selection
    from stream_app.dead_letters.replay import ReplayOptions, outcome, replay_dead_letters

    if flags.everything == bool(flags.reasons or flags.partitions):
        raise UsageError("say which dead letters: --all, or --reason and --partition")
    if flags.offset is not None and (len(flags.partitions) != 1 or flags.from_start):
        raise UsageError("--offset needs one --partition, and no --from-beginning")
    settings = settings_of(options)
    selection = Selection(frozenset(flags.reasons), frozenset(flags.partitions), offset=flags.offset)
    replay_options = ReplayOptions(
        again=flags.again,
        from_start=flags.from_start or flags.offset is not None,
        limit=flags.limit,
        dry_run=flags.dry_run,
    )
    counts = stoppable(lambda stop: replay_dead_letters(settings, selection, replay_options, stop, _show_progress))
    click.echo(outcome(counts, flags.dry_run))


def _show_progress(read: int, total: int) -> None:
    """Shows on a terminal how many records are read."""
    if sys.stderr.isatty():
        click.echo(f"{CLEAR}{read:,} of {total:,} read" if read < total else CLEAR, nl=False, err=True)
