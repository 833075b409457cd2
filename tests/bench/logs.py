"""Logs of events for benchmarks, read as `nextact evaluate` reads them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from model.data.events import Actions
from model.evaluation.split import in_order_of_time
from stream_app.offline.event_files import event_file
from stream_app.offline.log_reader import LogReader


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Which column holds what, by the names that `nextact evaluate` has for it."""
    parser.add_argument("--column", dest="columns", action="append", default=[], metavar="FIELD=COLUMN")
    parser.add_argument("--type-map", dest="types", action="append", default=[], metavar="NAME=TYPE")
    parser.add_argument("--timezone", default="UTC")


def read_logs(paths: Iterable[str], options: argparse.Namespace) -> Actions:
    """The actions of all files, in order of time."""
    given = {"constant_type": None, "time_unit": "auto", "file_format": "auto", "timezone": options.timezone}
    given |= {"columns": tuple(options.columns), "types": tuple(options.types), "baskets": False}
    return in_order_of_time(LogReader().read([event_file(path, given) for path in paths]))
