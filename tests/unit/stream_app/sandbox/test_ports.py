"""Free ports of the loopback address, and their reservation."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from stream_app.sandbox import ports


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_ports_are_distinct_and_of_the_range() -> None:
    found = {ports.free_port() for _ in range(20)}
    assert len(found) == 20
    assert found <= set(ports.FREE_PORTS)


def test_a_port_is_given_once_before_anybody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    port = ports.free_port()
    monkeypatch.setattr(ports, "FREE_PORTS", range(port, port + 1))
    with pytest.raises(StopIteration):
        ports.free_port()
    script = f"from stream_app.sandbox import ports; ports.FREE_PORTS = range({port}, {port + 1}); ports.free_port()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "StopIteration" in done.stderr
