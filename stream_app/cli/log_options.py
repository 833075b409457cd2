"""Options of all commands that read a shop's log: which column holds what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from stream_app.errors import SettingsInvalid

if TYPE_CHECKING:  # what it imports takes a second, and `--help` does not need it
    from stream_app.offline.event_files import EventLog

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Which column holds a field."),
    click.option(
        "--type-map", "types", multiple=True, metavar="NAME=TYPE", help="A type by another name; NAME= skips it."
    ),
    click.option("--type", "constant_type", help="The type of all events, for files without a column of types."),
    click.option("--timezone", default="UTC", show_default=True, help="Of timestamps that name none."),
    click.option("--time-unit", type=click.Choice(["auto", "s", "ms"]), default="auto", show_default=True),
    click.option(
        "--format", "file_format", type=click.Choice(["auto", "csv", "tsv", "jsonl", "parquet"]), default="auto"
    ),
)
NAMES: Final = ("columns", "types", "constant_type", "timezone", "time_unit", "file_format")


def log_options(command: F) -> F:
    """Adds the options; the command gets them by the NAMES."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def event_log(path: str, options: Mapping[str, Any]) -> EventLog:
    """The log in a file, read as the options say. Raises `SettingsInvalid`."""
    from stream_app.contract.events import TYPE_NAMES
    from stream_app.offline.event_files import EventLog

    return EventLog(
        path,
        columns=_pairs("--column", options["columns"]),
        types={name: kind or None for name, kind in _pairs("--type-map", options["types"]).items()},
        constant_type=options["constant_type"],
        timezone=options["timezone"],
        time_unit=options["time_unit"],
        format=options["file_format"],
        known_types=TYPE_NAMES.keys(),
    )


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, separator, _ in pairs:
        if not name or not separator:
            raise SettingsInvalid(f"{option} {name!r}: give two names with = between them")
    return {name: value for name, _, value in pairs}
