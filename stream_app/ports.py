"""Ports of the loopback address."""

from __future__ import annotations

import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"
# Below the ephemeral ranges of Linux and macOS: a client that calls a stopped node would otherwise be given
# the node's own port as its source port one day, and keep the node from starting again.
FREE_PORTS: Final = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port on which nobody listens now."""
    return next(port for port in random.sample(FREE_PORTS, len(FREE_PORTS)) if is_free(port))
