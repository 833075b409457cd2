"""The command line. Each command is thin: options to settings, errors to one line and an exit code."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from model.errors import NextactError
from stream_app.settings import PREFIX, Settings, load_settings

F = TypeVar("F", bound=Callable[..., Any])


def setting(name: str, *names: str, **extra: Any) -> Callable[[F], F]:
    """An option behind which stands the setting of the same name, so also its variable and its default."""
    field = Settings.model_fields[name]
    help_text = f"{field.description or ''} [{PREFIX}{name.upper()}; default: {field.default}]".strip()
    flags = names or (f"--{name.replace('_', '-')}",)
    return click.option(*flags, name, help=help_text, **extra)


def kafka(command: F) -> F:
    """The options of every command that talks to Kafka."""
    return setting("brokers")(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nextact")
def cli() -> None:
    """Predicts what each shopper does next: Kafka in, a recurrent state per user, Kafka out."""


@cli.command()
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the records are kept.")
@click.option("--port", type=int, default=9092, show_default=True, help="Of the first node; 0: a free one.")
@click.option("--nodes", type=click.IntRange(1, 9), default=1, show_default=True, help="Brokers of the cluster.")
def broker(data_dir: Path | None, port: int, nodes: int) -> None:
    """Run a real Apache Kafka here, without Docker or Java on the system; Ctrl-C stops it."""
    from stream_app.broker import Broker

    settings = _settings({})
    place = data_dir or settings.data_dir / "kafka"
    with Broker(place, nodes=nodes, port=port, report=click.echo) as running:
        click.echo(f"Kafka listens at {running.bootstrap_servers}, data in {place}. Ctrl-C stops it.")
        running.wait()


@cli.command()
@kafka
@setting("group")
@setting("device")
@setting("registry")
@setting("http_port", type=int)
@setting("batch_size", type=int)
@setting("rules_share", type=float)
@setting("log_level")
def worker(**options: Any) -> None:
    """Consume events, publish predictions. Start more of them to share the partitions."""
    from stream_app.worker import run_worker

    settings = _settings(options)
    _run(run_worker(settings))


@cli.command()
@kafka
@click.option("--check", is_flag=True, help="Make nothing, only check.")
def topics(check: bool, **options: Any) -> None:
    """Make the topics of the contract where they are missing, and check those that exist."""
    from stream_app.topics import ensure_topics

    for topic in _run(ensure_topics(_settings(options), create=not check)):
        state = "made" if topic.created else "ok"
        click.echo(f"{state:5} {topic.name}  {topic.partitions} partitions, {topic.replicas} replicas")


def _settings(options: dict[str, Any]) -> Settings:
    settings = load_settings(options)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    return settings


T = TypeVar("T")


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def main() -> None:
    """Entry point: a user's mistake is one line and an exit code, never a traceback."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except NextactError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
