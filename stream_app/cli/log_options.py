"""The options of all commands that read a shop's log: which column holds which field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_COLUMN: Final = click.option(
    "--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Which column holds a field."
)
_CELLS: Final = (
    click.option("--timezone", default="UTC", show_default=True, help="Of timestamps without one."),
    click.option("--time-unit", type=click.Choice(["auto", "s", "ms"]), default="auto", show_default=True),
    click.option(
        "--format", "file_format", type=click.Choice(["auto", "csv", "tsv", "jsonl", "parquet"]), default="auto"
    ),
)
_OPTIONS: Final = (
    _COLUMN,
    click.option(
        "--type-map", "types", multiple=True, metavar="NAME=TYPE", help="A type by another name; NAME= skips it."
    ),
    click.option("--type", "constant_type", help="The type of all events, for files without a column of types."),
    *_CELLS,
    click.option("--baskets", is_flag=True, help="Rows of one user, time and type are one event, a line of it each."),
)
NAMES: Final = ("columns", "types", "constant_type", "timezone", "time_unit", "file_format", "baskets")


def log_options(command: F) -> F:
    """Adds the options to a command, which receives them by the NAMES."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def table_options(command: F) -> F:
    """Adds those of them that are for tables of any rows."""
    for option in reversed((_COLUMN, *_CELLS)):
        command = option(command)
    return command
