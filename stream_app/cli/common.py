"""What the commands of `cli` have in common: options that are settings, and an end that is asked for."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from stream_app.settings import PREFIX, Settings, load_settings

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

CLEAR: Final = "\r\033[K"  # the terminal's line
INTERRUPTED: Final = 130  # as shells report SIGINT


def setting(name: str) -> Callable[[F], F]:
    """An option behind which stands the setting of the same name, so also its variable and its default."""
    field = Settings.model_fields[name]
    shown = f"[{PREFIX}{name.upper()}; default: {field.default}]"
    kind = field.annotation if field.annotation in (int, float) else str
    return click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{field.description or ''} {shown}".strip())


def stoppable(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Runs work that SIGINT and SIGTERM ask to stop."""

    async def run() -> T:
        stop = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        return await work(stop)

    return asyncio.run(run())


@contextmanager
def importing() -> Iterator[None]:
    """For imports of PyTorch, Faust and what is built on them: they make no garbage, and looking for it again and again
    takes a fifth of their time. What is there in the end is not looked at again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def settings_of(options: dict[str, Any]) -> Settings:
    """The settings of a command: its options, the environment, the defaults. Logging is as they say from here on."""
    settings = load_settings(options)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if settings.log_level != "debug":
        for library in ("aiokafka", "faust", "mode", "matplotlib"):
            logging.getLogger(library).setLevel("WARNING")
    return settings
