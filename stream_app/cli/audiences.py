"""`nextact audiences`: the groups of users of which signals tell who enters and who leaves."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream_app.cli.common import setting, settings_of
from stream_app.errors import UsageError

if TYPE_CHECKING:
    from model.profile.audiences import Audiences


@click.group()
def audiences() -> None:
    """Define the groups of users of which signals tell who enters and who leaves.

    FILE is TOML: a table for each audience, all of whose conditions must hold.

    \b
    [lost-buyers]
    about = "bought twice in a month, silent for three days"
    idle_hours = { at_least = 72 }
    counts = [{ type = "purchase", days = 30, at_least = 2 }]

    \b
    [warm-carts]
    cart_open = true
    purchase_probability = { at_least = 0.2 }

    Conditions: idle_hours, visits (each with at_least, at_most or both), cart_open, counts of a type of event in the
    last days (1 to 30, of UTC); and on the newest prediction: purchase_probability, leave_probability,
    return_probability, segments (ids or names), likes (the least share of a category or a brand).
    """


@audiences.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Say what is wrong with the audiences in FILE; the exit code is 1 then."""
    found = _read(file)
    click.echo(f"{len(found)} audiences, nothing is wrong with them: {', '.join(found)}")


@audiences.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@setting("brokers")
@setting("signals_topic")
def publish(file: Path, **options: Any) -> None:
    """Make the audiences in FILE those that there are; workers judge by them seconds later."""
    from stream_app.signals.admin import replace_audiences

    found = _read(file)
    before = asyncio.run(replace_audiences(settings_of(options), found))
    for name in sorted({*before, *found}):
        if name not in found:
            click.echo(f"{name}: is no more; nobody is told to have left it")
        elif name not in before:
            click.echo(f"{name}: is new")
        elif before[name] != found[name]:
            click.echo(f"{name}: has changed")
    click.echo(f"{len(found)} audiences", err=True)


@audiences.command("list")
@setting("brokers")
@setting("signals_topic")
def list_(**options: Any) -> None:
    """Show the audiences that there are, as TOML."""
    from stream_app.contract.signals.audiences import written_audiences
    from stream_app.signals.admin import current_audiences

    found = asyncio.run(current_audiences(settings_of(options)))
    if found:
        click.echo(written_audiences(found), nl=False)
    click.echo(f"{len(found)} audiences", err=True)


def _read(file: Path) -> Audiences:
    """Returns the audiences of a file; ends the command where anything is wrong with them."""
    from stream_app.contract.signals.audiences import read_audiences

    try:
        found = read_audiences(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        for problem in str(error).splitlines():
            click.echo(f"{file}: {problem}", err=True)
        sys.exit(1)
    return found
