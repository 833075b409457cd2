"""Says who promotes a version, for the record."""

from __future__ import annotations

import os
import pwd
import socket

from stream_app.kafka.clients import Role
from stream_app.settings import Settings


def promoter(settings: Settings, role: Role) -> str:
    """Returns who this process is: a trainer by its instance or host, an operator by user and host."""
    if role != "operator":
        return f"{role} {settings.instance_id or socket.gethostname()}"
    return f"{role} {_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have a number alone
        return f"user {os.getuid()}"
