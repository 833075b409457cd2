"""Metrics and health over HTTP, asked as Prometheus and Kubernetes ask."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry, Counter

from stream_app.errors import UsageError
from stream_app.http_server import HttpServer

HOST = "127.0.0.1"


def answers(registry: CollectorRegistry, not_ready: Callable[[], str | None]) -> dict[str, tuple[int, str, str]]:
    """Starts a server on a free port and asks it; returns status, content type and text by path."""

    async def run() -> dict[str, tuple[int, str, str]]:
        server = HttpServer(registry, not_ready)
        port = await server.start(HOST, 0)
        responses = {}
        try:
            async with ClientSession() as session:
                for path in ("/metrics", "/healthz", "/readyz", "/"):
                    async with session.get(f"http://{HOST}:{port}{path}") as response:
                        responses[path] = (response.status, response.headers["Content-Type"], await response.text())
        finally:
            await server.stop()
        return responses

    return asyncio.run(run())


def test_metrics_and_health_are_served() -> None:
    registry = CollectorRegistry()
    Counter("answers", "Of a test.", registry=registry).inc(3)
    responses = answers(registry, lambda: None)
    status, content_type, text = responses["/metrics"]
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    assert "answers_total 3.0" in text.splitlines()
    assert responses["/healthz"][::2] == (200, "alive\n")
    assert responses["/readyz"][::2] == (200, "ready\n")
    assert responses["/"][0] == 404


def test_a_process_that_is_not_ready_is_alive_and_says_what_it_waits_for() -> None:
    responses = answers(CollectorRegistry(), lambda: "no partitions yet")
    assert responses["/readyz"][::2] == (503, "no partitions yet\n")
    assert responses["/healthz"][0] == 200


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot serve metrics on {HOST}:{port}: .*NEXTACT_HTTP_PORT"):
            asyncio.run(HttpServer(CollectorRegistry(), lambda: None).start(HOST, port))


def test_a_server_that_never_started_can_be_stopped() -> None:
    asyncio.run(HttpServer(CollectorRegistry(), lambda: None).stop())
