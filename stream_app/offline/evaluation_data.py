"""Reads what an evaluation learns from and what it predicts, from the files that its options name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.data.events import Actions
from model.evaluation.split import Split, split_log, split_sessions
from model.items.catalogue import ItemCatalogue
from stream_app.errors import UsageError
from stream_app.offline.event_files import EventFile, event_file
from stream_app.offline.item_files import ItemFile, catalogue_of
from stream_app.offline.live_log import LiveLog
from stream_app.offline.log_reader import EventRecord, LogReader
from stream_app.offline.progress import ProgressLine
from stream_app.offline.session_files import read_examples, read_sessions
from stream_app.settings import Settings


@dataclass(frozen=True, slots=True)
class DataSource:
    """The files to learn from and to predict: logs of events, or sessions and examples."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    log_options: Mapping[str, Any] | None  # how to read logs; None: sessions and examples
    version: str | None = None  # directory of a version to score instead of training one
    items: str | None = None  # file of a catalogue, which says what events do not say of their items
    live_lag: float | None = None  # seconds that statistics are late when the test is scored live; None: it is not

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> DataSource:
        """Reads the options of the command. Raises `UsageError` unless they name one pair of files."""
        logs, lists = (options["events"], options["test_events"]), (options["train_sessions"], options["test_examples"])
        live, lag = options.get("live"), options.get("lag")
        if lag is not None and not live:
            raise UsageError("--lag says how late statistics are when a log is scored live: give --live too")
        if all(logs) and not any(lists):
            live_lag = (lag or 0.0) if live else None
            return cls(*logs, options, options["version"], options.get("items"), live_lag)
        if all(lists) and not any(logs) and not options.get("items") and not live:
            return cls((lists[0],), (lists[1],), None, options["version"])
        raise UsageError(
            "say what to learn from and what to predict: --events and --test-events, "
            "or --train-sessions and --test-examples, which have neither --items nor --live"
        )


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """What was read."""

    split: Split
    live: LiveLog | None = None  # what is to be predicted, as a worker gets it; None: it is not scored live
    catalogue: ItemCatalogue | None = None


def read_data(source: DataSource, settings: Settings, progress: ProgressLine) -> EvaluationData:
    """Reads the files. Raises `UsageError` for those that cannot be used, and what `split_log` raises."""
    progress("reading")
    if source.log_options is None:
        return EvaluationData(split_sessions(read_sessions(source.train[0]), read_examples(source.test[0])))
    catalogue = _catalogue(source, progress)
    reader = LogReader(progress=lambda rows: progress("reading", f"{rows:,} events"), catalogue=catalogue)
    train, test = (_logs(paths, source.log_options) for paths in (source.train, source.test))
    records: list[EventRecord] = []
    live = source.live_lag is not None
    reader.keep = records.append if live else None
    after = reader.read(test)
    reader.keep = None
    before = reader.read(train)
    if reader.left_out:
        progress.note(f"{reader.left_out:,} of {reader.rows:,} rows are not events; the first is {reader.first_fault}")
    cut = int(after.times.min())
    late = int((before.times >= cut).sum())
    if late:
        progress.note(
            f"{late:,} events of --events lie at or after the first of --test-events: they are predicted as well"
        )
        if live:
            records = [*_records_from(cut, train), *records]
    live_log = _live_log(records, before, cut, settings) if live else None
    return EvaluationData(split_log([before, after], cut), live_log, catalogue)


def _records_from(cut: int, logs: list[EventFile]) -> list[EventRecord]:
    """Reads logs once more, and returns their events from a time (ms) on as records."""
    records: list[EventRecord] = []
    LogReader(keep=lambda record: records.append(record) if record.time >= cut else None).read(logs)
    return records


def _live_log(records: list[EventRecord], before: Actions, cut: int, settings: Settings) -> LiveLog:
    earlier = before.take(np.flatnonzero(before.times < cut))
    return LiveLog.of(records, earlier, partitions=settings.partitions, length=settings.history_length)


def _catalogue(source: DataSource, progress: ProgressLine) -> ItemCatalogue | None:
    if source.items is None:
        return None
    file = ItemFile(source.items)
    catalogue = catalogue_of(file, lambda rows: progress("reading", f"{rows:,} items"))
    if file.left_out:
        progress.note(f"{file.left_out:,} of {file.rows:,} rows are not items; the first is {file.first_fault}")
    return catalogue


def _logs(paths: Iterable[str], log_options: Mapping[str, Any]) -> list[EventFile]:
    return [event_file(path, log_options) for path in paths]
