"""Commands that read tables have the same options by the same names."""

from __future__ import annotations

import click

from stream_app.cli.log_options import NAMES, log_options, table_options


def names(decorate: object) -> set[str | None]:
    command = click.command()(decorate(lambda **_: None))  # type: ignore[operator]
    return {parameter.name for parameter in command.params}


def test_logs_have_all_options_and_other_tables_those_of_cells_and_columns() -> None:
    assert names(log_options) == set(NAMES)
    assert names(table_options) == {"columns", "timezone", "time_unit", "file_format"}
