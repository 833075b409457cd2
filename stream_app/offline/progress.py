"""Shows how far long work has got, on a terminal and elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

import click

_EVERY_S: Final = 15.0  # seconds between two lines about the same stage where there is no terminal


class ProgressLine:
    """Shows progress on standard error: one line that changes on a terminal, now and then a line elsewhere."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, terminal: bool | None = None) -> None:
        self._clock = clock
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._stage = ""
        self._due = 0.0

    def __call__(self, stage: str, detail: str = "") -> None:
        """Shows that a stage has begun or got further."""
        line = f"{stage}: {detail}" if detail else stage
        if self._terminal:
            click.echo(f"\r\033[K{line}", nl=False, err=True)
        elif stage != self._stage or self._clock() >= self._due:
            click.echo(line, err=True)
            self._due = self._clock() + _EVERY_S
        self._stage = stage

    def note(self, line: str) -> None:
        """Writes a line that stays to be read."""
        self.close()
        click.echo(line, err=True)

    def close(self) -> None:
        """Clears the line on a terminal."""
        if self._terminal:
            click.echo("\r\033[K", nl=False, err=True)
