"""Ports of the loopback address."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
# Below the ephemeral ranges of Linux and macOS: a client that calls a stopped node would otherwise be given
# the node's own port as its source port one day, and keep the node from starting again.
FREE_PORTS: Final = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Tells whether a server could listen on `port` of the loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: a port in TIME_WAIT can be used
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Returns a port on which nobody listens, and which no process on this machine gets while this one lives."""
    return next(port for port in random.sample(FREE_PORTS, len(FREE_PORTS)) if is_free(port) and _reserve(port))


def _reserve(port: int) -> bool:
    """Reserves a port by a lock that ends with this process: others cannot see it in use before a server listens."""
    folder = Path(tempfile.gettempdir()) / f"nextact-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True
