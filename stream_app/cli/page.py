"""`nextact page`: a page that shows workers at work, and single shoppers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from stream_app.cli.common import setting, settings_of, stoppable
from stream_app.errors import InputUnreadable, RuntimeMissing, UsageError
from stream_app.page.options import PageOptions, is_address
from stream_app.settings import Settings

if TYPE_CHECKING:
    from stream_app.page.observer import Probe

_WORKER: Final = "http://127.0.0.1:9680"


@click.command()
@click.option(
    "--worker",
    "workers",
    metavar="URL",
    multiple=True,
    default=(_WORKER,),
    show_default=True,
    help="Address of a worker's API; again for more workers.",
)
@click.option("--token-file", type=click.Path(path_type=Path), help="File with a token of that API.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Whoever reaches it sees any shopper: no password."
)
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 9690, or a free one if taken; 0: a free one.")
@click.option("--grafana", metavar="URL", help="Address to link to for lag, drift and dead letters.")
@click.option("--simulated", is_flag=True, help="Say beside the figures that the shop is simulated.")
@click.option("--headline", type=click.Path(path_type=Path), hidden=True, help="Written by `nextact demo`.")
@setting("brokers")
def page(workers: tuple[str, ...], token_file: Path | None, brokers: str | None, **options: Any) -> None:
    """Show in the browser what workers do, and how they understand a shopper.

    It asks the workers' API and reads their metrics, nothing else; with --brokers it also looks whether Kafka answers.
    """
    settings = settings_of({"brokers": brokers, "log_level": "warning"})
    if strange := [url for url in workers if not is_address(url)]:
        raise UsageError(f"--worker {strange[0]} is not the address of an API: it looks like {_WORKER}")
    if find_spec("nicegui") is None:
        raise RuntimeMissing('the page needs the extra "page": pip install "nextact[page]"')
    from stream_app.page.server import serve_page

    page_options = PageOptions(workers=workers, token=_token(token_file), **options)
    probe = _broker_probe(settings) if "brokers" in settings.model_fields_set else None
    stoppable(lambda stop: serve_page(page_options, stop, click.echo, probe))


def _broker_probe(settings: Settings) -> Probe:
    from stream_app.page.broker_probe import probe_broker

    return lambda: probe_broker(settings)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        words = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputUnreadable(f"the token file {path} cannot be read: {error}") from error
    if not words:
        raise UsageError(f"the token file {path} is empty: it has to hold a token of the worker's API")
    return words[0]
