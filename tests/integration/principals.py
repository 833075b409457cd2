"""Who a test's processes and clients are on a secured broker: each has the name and the rights of its role, no others.

`admin` gives each stream's rights, from the table that the documents show, and does nothing else. What a test needs
beyond a role's rights (to delete records, to write as somebody would who may) it names with `allow`. On an open broker
all of this does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from stream_app.contract.access import Grant, Role, grants
from stream_app.kafka import clients
from stream_app.sandbox.access_admin import Acl, add_acls, remove_acls
from stream_app.sandbox.cluster import Broker
from stream_app.sandbox.secure import ADMIN, SecureFolder
from stream_app.settings import Settings

NOBODY: Final = "who-has-no-role-yet"
"""The user of a test's settings: the broker does not know them, so whoever has not become a role is refused."""

_COMMANDS: Final[dict[str, Role]] = {
    "worker": "worker",
    "trainer": "trainer",
    "statistics": "trainer",
    "send": "publisher",
    "simulate": "publisher",
    "watch": "subscriber",
    "list": "subscriber",
    "models": "operator",
    "audiences": "operator",
    "topics": "operator",
    "doctor": "operator",
    "replay": "operator",
    "import": "operator",
}
_Change = Callable[[AIOKafkaAdminClient, Collection[Acl]], Awaitable[None]]
_given: set[tuple[Path, Acl]] = set()


def secured_fields(broker: Broker) -> dict[str, Any]:
    """Settings of a stream on a secured broker, before anybody in particular uses them."""
    return broker.secure.settings_for(ADMIN) | {"sasl_username": NOBODY, "sasl_password": SecretStr("wrong")}


def role_of(command: Sequence[str]) -> Role:
    """Who runs a command: `dead-letters list` is a subscriber's, its `replay` and `models list` are the operator's."""
    if command and command[0] == "items":
        return "publisher" if "send" in command else "operator"
    words = [word for word in command if word in _COMMANDS]
    return _COMMANDS[words[0]] if words else "trainer"  # tests.faults.dying_trainer has no such word


def as_role(settings: Settings, role: Role) -> Settings:
    """Returns the settings of a role, which has its rights from then on; unchanged on an open broker."""
    if settings.sasl_username != NOBODY:
        return settings
    _give(settings, [Acl.of(grant) for grant in grants(settings) if grant.role == role])
    return settings.model_copy(update=_folder(settings).settings_for(role))


def allow(settings: Settings, role: Role, operation: str, resource: str, name: str) -> None:
    """Gives a role a right that it has in this test only, as the names in it are this test's own."""
    if settings.sasl_username == NOBODY:
        _give(settings, [Acl(role, operation, resource, name)])


def reader_of(settings: Settings, topic: str) -> Role:
    """Returns the first role that may read a topic; the same for all on an open broker."""
    if settings.sasl_username != NOBODY:
        return "subscriber"
    read = (grant.role for grant in grants(settings) if (grant.operation, grant.name) == ("Read", topic))
    return next(read, "operator")


def be_the_role_that_asks(patch: pytest.MonkeyPatch) -> None:
    """Has each client that the program makes in the tests' own process connect as the role that it is made for."""
    common = clients._common
    patch.setattr(clients, "_common", lambda settings, role: common(as_role(settings, role), role))


@contextmanager
def taken(settings: Settings, rights: Collection[Grant]) -> Iterator[None]:
    """Takes rights away for a while; roles must have been given theirs before."""
    acls = [Acl.of(right) for right in rights]
    _change(settings, remove_acls, acls)
    try:
        yield
    finally:
        _change(settings, add_acls, acls)


def _folder(settings: Settings) -> SecureFolder:
    return SecureFolder(Path(settings.ssl_cafile).parent)


def _give(settings: Settings, acls: Iterable[Acl]) -> None:
    folder = _folder(settings).path
    missing = [acl for acl in acls if (folder, acl) not in _given]
    if missing:
        _change(settings, add_acls, missing)
        _given.update((folder, acl) for acl in missing)


def _change(settings: Settings, how: _Change, acls: Collection[Acl]) -> None:
    """Adds or removes rights, as admin; in a thread with a loop of its own, as the caller's may be running."""
    admin = settings.model_copy(update=_folder(settings).settings_for(ADMIN))

    async def run() -> None:
        client = clients.new_admin(admin, "operator")
        await client.start()
        try:
            await how(client, acls)
        finally:
            await client.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(run())).result()
