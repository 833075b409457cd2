"""`nextact broker`: a Kafka on this machine, open or secured."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream_app.cli.common import settings_of

if TYPE_CHECKING:
    from stream_app.sandbox.cluster import Broker


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where the records are stored. [NEXTACT_DATA_DIR/kafka, of a secured one /kafka-secure]",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9092, show_default=True, help="First node's; 0: a free one."
)
@click.option("--nodes", type=click.IntRange(1, 9), default=1, show_default=True, help="Brokers of the cluster.")
@click.option("--kafka-version", help="As 3.9.2, or 3.3, 3.9, 4.4. [the data directory's, or 4.4.0]")
@click.option(
    "--secure",
    is_flag=True,
    help="With TLS, users and least rights; each user's settings are written to DATA_DIR/secure/USER.env.",
)
def broker(data_dir: Path | None, port: int, nodes: int, kafka_version: str | None, secure: bool) -> None:
    """Run a real Apache Kafka here, without Docker or Java on the system; Ctrl-C stops it."""
    from stream_app.sandbox.cluster import Broker

    base = settings_of({}).data_dir
    directory = data_dir or base / ("kafka-secure" if secure else "kafka")
    secrets = (data_dir or base) / "secure" if secure else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running = Broker(directory, nodes=nodes, port=port, version=kafka_version, secure=secrets, report=click.echo)
    try:
        with running:
            click.echo(f"Kafka {running.version} listens at {running.bootstrap_servers}, data in {directory}.")
            if secrets is not None:
                _open_to_roles(running)
                click.echo(guide(secrets))
            click.echo("Ctrl-C stops it.")
            running.wait()
    except KeyboardInterrupt:
        click.echo("stopping ...")


def _open_to_roles(running: Broker) -> None:
    """Makes the contract's topics, and gives each role its rights on them; all of that as the user `admin`."""
    from stream_app.kafka.topic_admin import ensure_topics
    from stream_app.sandbox.access_admin import give_rights
    from stream_app.sandbox.secure import ADMIN

    settings = settings_of(running.secure.settings_for(ADMIN))
    asyncio.run(ensure_topics(settings))
    asyncio.run(give_rights(settings))


def guide(secrets: Path) -> str:
    """Returns what to type in other terminals."""
    commands = {"worker": "worker", "trainer": "trainer", "publisher": "simulate", "subscriber": "watch"}
    lines = [f"    (set -a; . {secrets}/{user}.env; nextact {command})" for user, command in commands.items()]
    return "\n".join(
        [
            "It takes TLS and passwords only, and each user may do only what the role of that name must:",
            *lines,
            f"    (set -a; . {secrets}/operator.env; nextact doctor)",
            f"admin, who may do anything, has made the topics; {secrets}/admin.env is there to make others.",
        ]
    )
