"""Reads sessions in the literature's form: item ids in the order of time, one session or one example a line."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, TypeVar

from model.data.events import ID_LENGTH
from stream_app.errors import InputUnreadable
from stream_app.offline.row_files import open_bytes, unreadable

_READ_ERRORS: Final = (OSError, EOFError, UnicodeError, zlib.error)

Session = list[str]
Example = tuple[Session, str]
T = TypeVar("T")


def read_sessions(path: str) -> list[Session]:
    """Reads sessions, a line each: item ids with white space between them. Raises `InputUnreadable`."""
    sessions = []
    for line, text in _lines(path):
        sessions.append(_checked(text.split(), path, line))
    return _not_empty(sessions, path)


def read_examples(path: str) -> list[Example]:
    """Reads examples, a line each: item ids between blanks, a tab, the next item. Raises `InputUnreadable`."""
    examples = []
    for line, text in _lines(path):
        prefix, _, target = text.partition("\t")
        items, next_items = _checked(prefix.split(), path, line), _checked(target.split(), path, line)
        if not items or len(next_items) != 1:
            raise InputUnreadable(
                f"{path}, line {line}: {_start(text)!r} is not an example: "
                "the item ids of a prefix, a tab and one next item are expected"
            )
        examples.append((items, next_items[0]))
    return _not_empty(examples, path)


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Yields the lines that are not blank, with their numbers from 1."""
    line = 0
    try:
        with open_bytes(path) as stream:
            for line, content in enumerate(stream, 1):
                text = content.decode("utf-8-sig" if line == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield line, text
    except _READ_ERRORS as error:
        raise unreadable(
            path, error, f"line {line}" if isinstance(error, UnicodeError) else f"after line {line}"
        ) from error


def _checked(items: Session, path: str, line: int) -> Session:
    for item in items:
        if len(item) > ID_LENGTH:
            raise InputUnreadable(
                f"{path}, line {line}: item id {_start(item)!r} has {len(item)} characters, more than {ID_LENGTH}"
            )
    return items


def _not_empty(entries: list[T], path: str) -> list[T]:
    if not entries:
        raise InputUnreadable(f"{path} is empty: give a file with a session or an example on each line")
    return entries


def _start(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"
