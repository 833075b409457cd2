"""`nextact demo`: everything on this machine, with a simulated shop or with a log of your own."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from stream_app.cli.common import INTERRUPTED, grouped, setting, settings_of, stoppable
from stream_app.cli.log_options import NAMES, log_options
from stream_app.errors import UsageError
from stream_app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stream_app.offline.replay.shop_log import ShopLog
    from stream_app.sandbox.demo_source import DemoSource

_SIMULATED_PAST: Final = 20_000  # events of the simulated shop before it is live
_MOST_PAST: Final = 200_000  # events of a log that the first version learns from: more would take long
_PAST_SHARE: Final = 0.7  # of a log, by default
_OF_LOGS: Final = {"column": "columns", "type-map": "types", "type": "constant_type", "baskets": "baskets"}  # options


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """The files of a shop of your own."""

    log: str | None
    items: str | None
    rival: str | None
    rival_columns: tuple[str, ...]


@click.command()
@click.option("--log", metavar="FILE", help="Replay this log of your own instead of a simulated shop.")
@click.option("--items", metavar="FILE", help="Its catalogue, as `items send` reads it.")
@click.option(
    "--rival", metavar="FILE", help="What the shop shows today: time, user, items (best first); counted beside."
)
@click.option("--rival-column", "rival_columns", multiple=True, metavar="FIELD=COLUMN", help="Of that file.")
@log_options
@click.option("--seconds", type=click.FloatRange(min=1), help="Live time of the shop; without a bound: until Ctrl-C.")
@click.option("--events", type=click.IntRange(min=1), help="Events in all, the history included.")
@click.option("--rate", type=click.FloatRange(min=0.1), default=300, show_default=True, help="Live records per second.")
@click.option(
    "--history",
    type=click.IntRange(min=0),
    help=f"Events before that. Default: {_SIMULATED_PAST:,}; of a log {_PAST_SHARE:.0%}, at most {_MOST_PAST:,}.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    default=Path("report.html"),
    show_default=True,
    help="Where to write what came of it.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulated shoppers, and of what is drawn.")
@setting("device")
@grouped("files", DemoFiles)
def demo(files: DemoFiles, history: int | None, device: str | None, **options: Any) -> None:
    """See all of it at work: Kafka, a worker, a trainer and a shop, on this machine.

    With --log the shop is yours: its older events are learned from, the others replayed, and each shopper's next item
    looked up in what was published for them before. At the end a report is written that opens in any browser.
    """
    from stream_app.sandbox.demo import DemoOptions, Run, run_demo

    settings = settings_of({"device": device, "log_level": "warning"})
    reading = {name: options.pop(name) for name in NAMES}
    demo_options = DemoOptions(**options)
    _check_report(demo_options.report)
    source = _source(files, reading, history, demo_options.seed)

    async def run(stop: asyncio.Event) -> bool:
        summary = await run_demo(Run(settings, source, demo_options, click.echo), stop)
        click.echo(json.dumps(asdict(summary)))
        return stop.is_set()

    if stoppable(run):
        sys.exit(INTERRUPTED)


def _check_report(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--report {path}: there is no folder {path.absolute().parent}")


def _source(files: DemoFiles, reading: dict[str, Any], history: int | None, seed: int) -> DemoSource:
    """Returns the shop that the options ask for. Raises `UsageError`."""
    from stream_app.sandbox.demo_source import simulated_source

    if files.log is None:
        _refuse_others(files, reading)
        return simulated_source(_SIMULATED_PAST if history is None else history, seed)
    from stream_app.offline.progress import ProgressLine
    from stream_app.offline.replay.shop_log import LogFiles, read_shop_log

    progress = ProgressLine()
    log = read_shop_log(LogFiles(files.log, files.items, files.rival, files.rival_columns), reading, progress)
    progress.close()
    for note in log.notes:
        progress.note(note)
    return _log_source(log, history)


def _refuse_others(files: DemoFiles, reading: dict[str, Any]) -> None:
    """Raises `UsageError` for options that say something of a log, where there is none."""
    given = {"items": files.items, "rival": files.rival, "rival-column": files.rival_columns} | {
        option: reading[name] for option, name in _OF_LOGS.items()
    }
    for option, value in given.items():
        if value:
            raise UsageError(f"--{option} goes with --log")


def _log_source(log: ShopLog, history: int | None) -> DemoSource:
    from stream_app.sandbox.demo_source import DemoSource

    count = len(log.records)
    past = min(int(_PAST_SHARE * count), _MOST_PAST) if history is None else history
    if past >= count:
        raise UsageError(f"--history {past:,}: {log.name} has {count:,} events, so none would be left to replay")

    @asynccontextmanager
    async def feed(settings: Settings) -> AsyncIterator[None]:
        from stream_app.kafka.publisher import publish

        if log.items is not None:
            await publish(log.items, kafka=settings, topic=settings.items_topic)
        yield

    return DemoSource(
        name=log.name,
        past=past,
        records=log.records[:past],
        live=log.records[past:],
        feed=feed,
        title_of=lambda item: log.titles.get(item, ""),
        category_of=lambda item: log.categories.get(item, ""),
        rival=log.rival,
        waits=True,
    )
