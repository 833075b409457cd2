"""Reads a shop's own log for a replay, with its items and with what the shop shows today, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_app.errors import InputUnreadable
from stream_app.offline.event_files import event_file
from stream_app.offline.item_files import ItemFile, check_items, item_file
from stream_app.offline.log_reader import EventRecord, LogReader
from stream_app.offline.replay.rival import RivalLists, rival_file

Progress = Callable[[str, str], None]  # given a stage and a detail

_LEAST_EVENTS: Final = 100  # of a log that anything can be learned from


@dataclass(frozen=True, slots=True)
class LogFiles:
    """The files of a replay."""

    log: str
    items: str | None = None
    rival: str | None = None
    rival_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ShopLog:
    """A log in the order of time, and what is known beside it."""

    name: str
    records: Sequence[tuple[bytes, bytes]]  # key and value of each event
    items: ItemFile | None
    titles: Mapping[str, str]  # by item
    categories: Mapping[str, str]  # by item
    rival: RivalLists | None
    notes: Sequence[str]  # on what was left out


def read_shop_log(files: LogFiles, options: Mapping[str, Any], progress: Progress) -> ShopLog:
    """Reads everything; `options` are those of all commands that read logs.

    Raises `InputUnreadable`, with file, row and value, and `SettingsInvalid`.
    """
    own_options = dict(options) | {"columns": (), "file_format": "auto"}
    rival = None if files.rival is None else rival_file(files.rival, files.rival_columns, options)
    items = None if files.items is None else item_file(files.items, own_options)
    notes: list[str] = []
    events = _events(files.log, options, progress, notes)
    titles, categories = ({}, {}) if items is None else _named(items, progress, notes)
    lists = None
    if rival is not None:
        lists = RivalLists(iter(rival), lambda rows: progress("reading what the shop shows today", f"{rows:,} lists"))
        _check_rival(files, lists, {event.key.decode() for event in events})
    return ShopLog(
        name=Path(files.log).name,
        records=[(event.key, event.value) for event in events],
        items=items,
        titles=titles,
        categories=categories,
        rival=lists,
        notes=notes,
    )


def _events(path: str, options: Mapping[str, Any], progress: Progress, notes: list[str]) -> list[EventRecord]:
    events: list[EventRecord] = []
    progress("reading the log", "")
    reader = LogReader(progress=lambda rows: progress("reading the log", f"{rows:,} events"), keep=events.append)
    for _ in reader.batches(event_file(path, options)):
        pass  # the reader keeps what is needed
    if reader.left_out:
        notes.append(f"{reader.left_out:,} of {reader.rows:,} rows are not events; the first is {reader.first_fault}")
    if len(events) < _LEAST_EVENTS:
        raise InputUnreadable(
            f"{path}: only {len(events)} events; a replay needs {_LEAST_EVENTS}, and to learn anything thousands"
        )
    return sorted(events, key=lambda event: event.time)


def _named(items: ItemFile, progress: Progress, notes: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    titles, categories = dict[str, str](), dict[str, str]()
    for change in items.changes():
        if change.item is not None:
            if change.item.title:
                titles[change.item_id] = change.item.title
            if change.item.category:
                categories[change.item_id] = " > ".join(change.item.category)
    check_items(items)
    progress("reading the items", f"{items.rows:,} items")
    if items.left_out:
        notes.append(f"{items.left_out:,} of {items.rows:,} rows are not items; the first is {items.first_fault}")
    return titles, categories


def _check_rival(files: LogFiles, lists: RivalLists, users: set[str]) -> None:
    if not lists.rows:
        raise InputUnreadable(f"{files.rival}: no lists in it: give a file with columns time, user and items")
    if not lists.users & users:
        some = next(iter(sorted(lists.users)))
        raise InputUnreadable(
            f"{files.rival}: none of its {len(lists.users):,} users, such as {some!r}, is in {files.log}, whose users "
            f"are called like {min(users)!r}: say which column holds them with --rival-column user=..."
        )
