"""What the commands share: options that are settings, flags as one object, and an end on a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from model.addresses import HIDDEN, without_secrets
from stream_app.environment import unknown_variables
from stream_app.settings import PREFIX, Settings, load_settings

logger: Final = logging.getLogger(__name__)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

CLEAR: Final = "\r\033[K"  # clears the terminal's line
_READ_BY_FAUST: Final = re.compile("FAUST_.*|F_.*|NO_CYTHON|DEVLOG|TYPEXPR_DEBUG")  # by Faust and mode, at import
_COMPILERS: Final = {"NUMBA_CACHE_DIR": "numba", "TRITON_CACHE_DIR": "triton"}  # variables, and folders of ours
INTERRUPTED: Final = 130  # exit code, as shells report SIGINT


def setting(name: str) -> Callable[[F], F]:
    """Makes an option of the setting of the same name; without it, the setting's variable or default counts."""
    field = Settings.model_fields[name]
    shown = f"[{PREFIX}{name.upper()}; default: {field.default}]"
    kind = field.annotation if field.annotation in (int, float) else str
    return click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{field.description or ''} {shown}".strip())


def stoppable(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Runs work to its end; SIGINT and SIGTERM set the event that asks it to stop."""

    async def run() -> T:
        stop = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        return await work(stop)

    return asyncio.run(run())


def grouped(name: str, kind: type[Any]) -> Callable[[F], F]:
    """Hands a command those of its options that are fields of the dataclass `kind` as one object called `name`."""

    def decorate(command: F) -> F:
        @wraps(command)
        def run(**options: Any) -> Any:
            group = kind(**{field.name: options.pop(field.name) for field in fields(kind)})
            return command(**options, **{name: group})

        return cast(F, run)

    return decorate


@contextmanager
def importing() -> Iterator[None]:
    """Turns the garbage collector off while PyTorch, Faust and what is built on them are imported.

    Imports make no garbage, and looking for it takes a fifth of their time. What was imported is never looked at again.
    Variables that Faust reads when it is imported are hidden from it: they are not meant for us.
    """
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if _READ_BY_FAUST.fullmatch(name)}
    gc.disable()
    try:
        yield
    finally:
        os.environ.update(hidden)
        gc.freeze()
        gc.enable()


class LineFormatter(logging.Formatter):
    """Formats what is logged, and errors that nobody foresaw, without the secrets in them: also in lines of others."""

    def __init__(self, secrets: Collection[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._secrets = sorted(secrets, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line of a record."""
        return self._hide(super().format(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name in logging
        """Returns the traceback of an error."""
        return self._hide(super().formatException(ei))

    def _hide(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return without_secrets(text)


def show_progress(text: str) -> None:
    """Replaces the terminal's line by a text; does nothing without a terminal."""
    if sys.stderr.isatty():
        click.echo(f"{CLEAR}{text}", nl=False, err=True)


def settings_of(options: dict[str, Any]) -> Settings:
    """Returns the settings of a command (options, environment, defaults), and sets up logging as they say."""
    settings = load_settings(options)
    lines = LineFormatter(settings.secrets())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(lines)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    sys.excepthook = lambda *error: click.echo(lines.formatException(error), err=True)
    if settings.log_level != "debug":
        for library in ("aiokafka", "faust", "mode", "matplotlib"):
            logging.getLogger(library).setLevel("WARNING")
    if settings.cache_dir:
        _keep_compiled_in(settings.cache_dir)
    for variable in unknown_variables(os.environ, Settings.model_fields):
        logger.warning("%s", variable)
    return settings


def _keep_compiled_in(folder: str) -> None:
    """Has numba and Triton, which are imported later, keep what they compile in a folder."""
    os.environ.update({variable: str(Path(folder, name).absolute()) for variable, name in _COMPILERS.items()})
