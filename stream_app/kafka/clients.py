"""The one place where Kafka clients are made: every consumer, producer and admin client, Faust's own included.

What all of them share comes from the settings: addresses, security, the name that brokers see, and the rack. A test
forbids making a client elsewhere.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream_app.contract.access import Role
from stream_app.kafka.diagnosis import quiet
from stream_app.kafka.lenient_consumer import LenientConsumer
from stream_app.kafka.refusals import explained
from stream_app.kafka.security import security_options
from stream_app.settings import Settings

__all__ = ["Role", "client_id", "new_admin", "new_consumer", "new_producer"]

_UNUSUAL: Final = re.compile(r"[^0-9A-Za-z._-]")  # what some brokers do not take in the name of a metric or a quota
_REFUSALS: Final = (KafkaError, OSError, ValueError)  # a ValueError is aiokafka's for an address that cannot be read
_LONGEST_INSTANCE: Final = 200  # characters: Kafka's limit of a name, less what stands before it

_Step = Callable[[], Awaitable[None]]


class Consumer(LenientConsumer):
    """A consumer whose start says why it fails; in `async with` all that it does."""

    def __init__(self, *topics: str, settings: Settings, **options: Any) -> None:
        super().__init__(*topics, **options)
        self.settings = settings

    async def start(self) -> None:
        """Connects. Raises `UsageError`."""
        await _started(super().start, self.stop, self.settings, "Read")

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Disconnects. Raises `UsageError` for what Kafka has refused."""
        await _ended(self.stop, error, self.settings, "Read")


class Producer(AIOKafkaProducer):  # type: ignore[misc]
    """A producer whose start says why it fails; in `async with` all that it does."""

    def __init__(self, *, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings

    async def start(self) -> None:
        """Connects. Raises `UsageError`."""
        await _started(super().start, self.stop, self.settings, "Write")

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Disconnects. Raises `UsageError` for what Kafka has refused."""
        await _ended(self.stop, error, self.settings, "Write")


class AdminClient(AIOKafkaAdminClient):  # type: ignore[misc]
    """An admin client whose start says why it fails; in `async with` all that it does."""

    def __init__(self, *, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings

    async def start(self) -> None:
        """Connects. Raises `UsageError`."""
        await _started(super().start, self.close, self.settings, "Describe")

    async def __aenter__(self) -> Self:
        """Connects. Raises `UsageError`."""
        await self.start()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Disconnects. Raises `UsageError` for what Kafka has refused."""
        await _ended(self.close, error, self.settings, "Describe")


def new_consumer(settings: Settings, role: Role, *topics: str, **options: Any) -> Consumer:
    """Makes a consumer, not connected yet; `options` are aiokafka's. Raises `SettingsInvalid`.

    What nobody can read of a topic comes as `UnreadableBatch`, without key and value.
    """
    rack = {"client_rack": settings.client_rack} if settings.client_rack else {}
    return Consumer(*topics, settings=settings, **_common(settings, role), **rack, enable_auto_commit=False, **options)


def new_producer(settings: Settings, role: Role, **options: Any) -> Producer:
    """Makes a producer, not connected yet; `options` are aiokafka's. Raises `SettingsInvalid`."""
    compression = None if settings.compression == "none" else settings.compression
    return Producer(settings=settings, **{**_common(settings, role), "compression_type": compression, **options})


def new_admin(settings: Settings, role: Role, **options: Any) -> AdminClient:
    """Makes an admin client, not connected yet; `options` are aiokafka's. Raises `SettingsInvalid`."""
    return AdminClient(settings=settings, **_common(settings, role), **options)


def client_id(settings: Settings, role: Role, *, host: str | None = None, pid: int | None = None) -> str:
    """Returns the name under which brokers see a client of a process, by default of this one: in logs and quotas."""
    instance = settings.instance_id or f"{host or socket.gethostname()}-{pid or os.getpid()}"
    return f"nextact-{role}-{_UNUSUAL.sub('-', instance)[:_LONGEST_INSTANCE]}"


def _common(settings: Settings, role: Role) -> dict[str, Any]:
    return {
        "bootstrap_servers": settings.brokers,
        "client_id": client_id(settings, role),
        **security_options(settings),
    }


async def _started(start: _Step, stop: _Step, settings: Settings, operation: str) -> None:
    """Connects a client, or closes it and raises the error that says why not."""
    try:
        with quiet():
            await start()
    except _REFUSALS as error:
        await stop()
        raise await explained(settings, error, operation) from error


async def _ended(stop: _Step, error: BaseException | None, settings: Settings, operation: str) -> None:
    """Closes a client, and raises the error that says what Kafka has refused, if that is why it is closed."""
    await stop()
    if isinstance(error, KafkaError | TimeoutError):
        raise await explained(settings, error, operation) from error
