"""`nextact evaluate`: measures the model on a log beside rankers that need no training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stream_app.cli.common import setting, settings_of
from stream_app.cli.log_options import log_options


@click.command()
@click.option("--events", "-e", multiple=True, metavar="FILE", help="A log to learn from; repeatable.")
@click.option("--test-events", multiple=True, metavar="FILE", help="A later log to predict; repeatable.")
@log_options
@click.option(
    "--items", metavar="FILE", help="A catalogue: what events do not say of their items, as `items send` reads it."
)
@click.option("--train-sessions", metavar="FILE", help="A session a line: item ids in the order of time.")
@click.option("--test-examples", metavar="FILE", help="An example a line: item ids, a tab, the next item.")
@click.option("--model", "version", metavar="DIRECTORY", help="The version to score; default: train one.")
@click.option("--live", is_flag=True, help="Also score the test as a worker answers it, learning as it passes.")
@click.option(
    "--lag", type=click.FloatRange(min=0), metavar="SECONDS", help="How late statistics are with --live; default: 0."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line.")
@click.option("--plot", "folder", type=click.Path(path_type=Path, file_okay=False), help="Pictures, to this folder.")
@setting("seed")
@setting("device")
def evaluate(as_json: bool, folder: Path | None, seed: int | None, device: str | None, **source: Any) -> None:
    """Train on a log, predict a later one, and compare with what needs no training.

    Either --events and --test-events: what lies before the first test event is learned from, and every later action on
    an item, of a basket the first line, is to be predicted from what its user did before. Or --train-sessions and
    --test-examples, as in papers. All items are ranked. An unseen target is a miss, and ties count against the model.
    With --live a worker's pipeline answers the test in its own time: each event scores the answer before it, and users,
    items and rules learn from it.
    """
    from stream_app.offline.evaluate import run_evaluation
    from stream_app.offline.evaluation_data import DataSource
    from stream_app.offline.plots import check_drawing, draw

    settings, files = settings_of({"seed": seed, "device": device}), DataSource.of(source)
    if folder is not None:
        check_drawing()
    report = run_evaluation(settings, files, by_epoch=folder is not None)
    for picture in draw(report, folder) if folder is not None else ():
        click.echo(f"wrote {picture}", err=True)
    for line in report.lines():
        click.echo(line)
    if as_json:
        click.echo(json.dumps(report.as_json()))
