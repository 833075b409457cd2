"""The development logs that quality is measured on, and how each is cut into what is known and what is to be predicted.

JData's own test keeps hardly any item that its training lacks, so JData is also cut at a share of its training file's
rows: such a slice of time is what a shop has.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.data.events import Actions, concatenate
from model.errors import NextactError
from model.evaluation.split import Split, in_order_of_time, split_log, split_sessions
from stream_app.cli.log_options import NAMES
from stream_app.offline.evaluation_data import DataSource
from stream_app.offline.event_files import event_file
from stream_app.offline.log_reader import LogReader
from stream_app.offline.session_files import read_examples, read_sessions

Options = Mapping[str, Any]
_DEFAULTS: Final[Options] = dict.fromkeys(NAMES) | {
    "columns": (),
    "types": (),
    "timezone": "UTC",
    "time_unit": "auto",
    "file_format": "auto",
    "baskets": False,
}
JDATA: Final[Options] = {**_DEFAULTS, "types": ("follow=favorite", "comment="), "timezone": "Asia/Shanghai"}
YOOCHOOSE: Final[Options] = {
    **_DEFAULTS,
    "columns": ("user_id=SessionId", "item_id=ItemId", "timestamp=Time"),
    "constant_type": "click",
}
RETAIL: Final[Options] = {
    **_DEFAULTS,
    "columns": (
        *("user_id=CustomerID", "item_id=Description", "timestamp=InvoiceDate"),
        *("quantity=Quantity", "price=UnitPrice"),
    ),
    "constant_type": "purchase",
    "timezone": "Europe/London",
    "baskets": True,
}
SLICES: Final = {"jdata-50": (0.5, 0.65), "jdata-65": (0.65, 0.8), "jdata-80": (0.8, 1.0)}  # shares of the rows
RETAIL_SLICES: Final = {"retail-55": (0.55, 1.0), "retail-70": (0.7, 1.0), "retail-80": (0.8, 1.0)}
NAMES_OF_SETS: Final = ("diginetica", "yoochoose", "jdata-test", *SLICES)
ALL_NAMES: Final = (*NAMES_OF_SETS, *RETAIL_SLICES)  # the last are of purchases alone, over months


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the logs are; which of them, is `--only`."""
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), metavar="FOLDER", help="of the logs that quality needs"
    )
    parser.add_argument("--seed", type=int, default=1, help="of trainings for quality")


@contextmanager
def chosen(options: argparse.Namespace, default: tuple[str, ...]) -> Iterator[dict[str, DataSource]]:
    """The data sets that `--only` names, or the default ones; slices are files that are removed afterwards."""
    names = options.only or default
    unknown = sorted(set(names) - set(ALL_NAMES))
    if unknown:
        raise NextactError(f"no data set is called {', '.join(unknown)}; there are {', '.join(ALL_NAMES)}")
    with tempfile.TemporaryDirectory(prefix="nextact-slices-") as scratch:
        yield {name: _source(name, options.data, Path(scratch)) for name in names}


def _source(name: str, folder: Path, scratch: Path) -> DataSource:
    def paths(*parts: str) -> tuple[str, ...]:
        found = folder.joinpath(*parts)
        if not found.exists():
            raise NextactError(f"{found} is not there; say with --data where the logs are")
        return (str(found),)

    if name == "diginetica":
        return DataSource(paths(name, "train_sessions.txt.gz"), paths(name, "test_examples.tsv.gz"), None)
    if name == "yoochoose":
        return DataSource(paths("yoochoose100k", "train_full.tsv.gz"), paths("yoochoose100k", "test.tsv.gz"), YOOCHOOSE)
    if name in RETAIL_SLICES:
        (log,) = paths("online_retail", "until_2011-08.csv.gz")
        return DataSource(*cut_rows(Path(log), *RETAIL_SLICES[name], scratch / name), RETAIL)
    (train,) = paths("jdata", "train.csv.gz")
    if name == "jdata-test":
        return DataSource((train,), paths("jdata", "test.csv.gz"), JDATA)
    return DataSource(*cut_rows(Path(train), *SLICES[name], scratch / name), JDATA)


def cut_rows(log: Path, begin: float, end: float, stem: Path) -> tuple[tuple[str], tuple[str]]:
    """Writes the rows before a share of a log's rows, and those from there to another share, with its header each."""
    with gzip.open(log, "rt", encoding="utf-8") as lines:
        header, *rows = lines
    first, last = round(begin * len(rows)), round(end * len(rows))
    known, later = Path(f"{stem}-known.csv"), Path(f"{stem}-later.csv")
    known.write_text(header + "".join(rows[:first]), encoding="utf-8")
    later.write_text(header + "".join(rows[first:last]), encoding="utf-8")
    return (str(known),), (str(later),)


def split_of(source: DataSource) -> Split:
    """The split that `nextact evaluate` makes of a data set."""
    if source.log_options is None:
        return split_sessions(read_sessions(source.train[0]), read_examples(source.test[0]))
    actions, cut = _read(source)
    return split_log([actions], cut)


def known_actions(source: DataSource) -> Actions:
    """What a data set has before its cut, in order of time; sessions and examples have no clock for that."""
    actions, cut = _read(source)
    return actions.take(np.flatnonzero(actions.times < cut))


def _read(source: DataSource) -> tuple[Actions, int]:
    reader, options = LogReader(), source.log_options or _DEFAULTS
    before, after = (reader.read(event_file(path, options) for path in paths) for paths in (source.train, source.test))
    return in_order_of_time(concatenate([before, after])), int(after.times.min())
