"""Where the page listens."""

from __future__ import annotations

import socket

import pytest

from stream_app.errors import UsageError
from stream_app.page import server


def test_a_port_that_is_taken_is_another_one_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(server, "DEFAULT_PORT", port)
        with server._listen("127.0.0.1", None) as listener:
            assert listener.getsockname()[1] != port
        with pytest.raises(UsageError, match=rf"cannot serve the page on 127\.0\.0\.1:{port}: .*--port"):
            server._listen("127.0.0.1", port)


def test_its_address_is_one_for_a_browser() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        assert server.address(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/"
