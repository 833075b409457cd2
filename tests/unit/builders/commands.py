"""Command lines that documents name."""

from __future__ import annotations

import re

import click

from stream_app.cli.main import cli


def check_command(line: str) -> None:
    """Fails when `nextact` has no such command or option; `line` is what follows its name, maybe with a comment."""
    command: click.Command = cli
    for word in re.split(r"\s+[#;&]", line)[0].split():
        if isinstance(command, click.Group):
            assert word in command.commands, line
            command = command.commands[word]
        elif word.startswith("--"):
            assert word in [option for parameter in command.params for option in parameter.opts], line
