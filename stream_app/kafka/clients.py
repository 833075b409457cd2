"""The one place where Kafka clients are made: every consumer, producer and admin client, Faust's own included.

What all of them share comes from the settings: addresses, security, the name that brokers see, and the rack. A test
forbids making a client elsewhere.
"""

from __future__ import annotations

import os
import re
import socket
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from stream_app.contract.access import Role
from stream_app.kafka.security import security_options
from stream_app.settings import Settings

__all__ = ["Role", "client_id", "new_admin", "new_consumer", "new_producer"]

_UNUSUAL: Final = re.compile(r"[^0-9A-Za-z._-]")  # what some brokers do not take in the name of a metric or a quota
_LONGEST_INSTANCE: Final = 200  # characters: Kafka's limit of a name, less what stands before it


def new_consumer(settings: Settings, role: Role, *topics: str, **options: Any) -> AIOKafkaConsumer:
    """Makes a consumer, not connected yet; `options` are aiokafka's. Raises `SettingsInvalid`."""
    rack = {"client_rack": settings.client_rack} if settings.client_rack else {}
    return AIOKafkaConsumer(*topics, **_common(settings, role), **rack, enable_auto_commit=False, **options)


def new_producer(settings: Settings, role: Role, **options: Any) -> AIOKafkaProducer:
    """Makes a producer, not connected yet; `options` are aiokafka's. Raises `SettingsInvalid`."""
    return AIOKafkaProducer(**_common(settings, role), **options)


def new_admin(settings: Settings, role: Role, **options: Any) -> AIOKafkaAdminClient:
    """Makes an admin client, not connected yet; `options` are aiokafka's. Raises `SettingsInvalid`."""
    return AIOKafkaAdminClient(**_common(settings, role), **options)


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
