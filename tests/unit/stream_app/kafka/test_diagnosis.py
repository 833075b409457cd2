"""Why there is no connection, tried on real sockets; on a real broker in tests/integration/test_named_errors.py."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from stream_app.errors import BrokerUnreachable, SettingsInvalid, TlsRefused, UsageError, WrongProtocol
from stream_app.kafka import diagnosis
from stream_app.kafka.clients import new_admin, new_consumer, new_producer
from stream_app.settings import Settings, load_settings
from tests.unit.builders.certificates import Authority

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes what comes and says nothing, until the other side goes."""
    await reader.read()
    writer.close()


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


def refusal(given: Mapping[str, object], handler: Handler = silent, context: ssl.SSLContext | None = None) -> Any:
    """What an admin client says of a server on this machine."""

    async def run() -> UsageError:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)
        try:
            return await refused(at(server.sockets[0].getsockname()[1], given))
        finally:
            server.close()

    return asyncio.run(run())


def at(port: int, given: Mapping[str, object]) -> Settings:
    return load_settings({"brokers": f"localhost:{port}", **given})


@contextmanager
def picky(context: ssl.SSLContext) -> Iterator[int]:
    """A server that says why it ends TLS, as brokers do and asyncio's does not; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                with context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as connection:
                    with suppress(ssl.SSLError, OSError):
                        connection.do_handshake()
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
                        while os.read(connection.fileno(), 4096):
                            pass  # closed with something unread, it would take its last words back

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


async def refused(settings: Settings) -> UsageError:
    with pytest.raises(UsageError) as caught:
        await new_admin(settings, "operator", request_timeout_ms=500).start()
    assert "\n" not in str(caught.value)
    return caught.value


def tls_server(authority: Authority, *, wants: Path | None = None, **certificate: object) -> ssl.SSLContext:
    """A server's side of TLS; `wants`: the authority of clients' certificates, which it then asks for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("broker", **certificate))  # type: ignore[arg-type]
    if wants is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(wants)
    return context


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_STEP_MS", 500)


def tls(authority: Authority, **more: object) -> dict[str, object]:
    return {"security_protocol": "SSL", "ssl_cafile": str(authority.cafile)} | more


def test_a_port_where_nobody_listens_is_no_broker_and_nothing_else_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        error = asyncio.run(refused(Settings(brokers="127.0.0.1:1,127.0.0.1:2")))
    assert isinstance(error, BrokerUnreachable)
    assert "127.0.0.1:1 refuses connections; 127.0.0.1:2 refuses connections" in str(error)
    assert "--brokers or NEXTACT_BROKERS" in str(error)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("make", [new_consumer, new_producer])
def test_every_client_says_why_and_is_closed(make: Callable[..., object]) -> None:
    async def run() -> None:
        client = make(Settings(brokers="127.0.0.1:1"), "operator")
        with pytest.raises(BrokerUnreachable):
            await client.start()  # type: ignore[attr-defined]

    asyncio.run(run())


def test_an_address_that_cannot_be_read_is_a_setting() -> None:
    error = asyncio.run(refused(Settings(brokers="localhost:kafka")))
    assert isinstance(error, SettingsInvalid)
    assert "NEXTACT_BROKERS is 'localhost:kafka': give host:port" in str(error)


def test_a_server_that_is_no_broker_is_not_called_an_absent_one() -> None:
    error = refusal({}, web)
    assert isinstance(error, WrongProtocol)
    assert "not as a Kafka broker does" in str(error)


def test_a_port_with_tls_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    error = refusal({}, context=tls_server(authority))
    assert isinstance(error, WrongProtocol)
    assert "speaks TLS, and this client does not: set NEXTACT_SECURITY_PROTOCOL=SSL" in str(error)
    login = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "ada", "sasl_password": "x"}
    assert "NEXTACT_SECURITY_PROTOCOL=SASL_SSL" in str(refusal(login, context=tls_server(authority)))


def test_a_certificate_that_is_not_accepted_is_named_with_the_reason(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    cases: list[tuple[dict[str, object], ssl.SSLContext, str]] = [
        (tls(other), tls_server(authority), f"not from an authority that is trusted ({other.cafile})"),
        ({"security_protocol": "SSL"}, tls_server(authority), "not from an authority that is trusted (the system's"),
        (tls(authority), tls_server(authority, expired=True), "has expired"),
        (tls(authority), tls_server(authority, hosts="kafka.example"), "is not for the host localhost"),
    ]
    for given, context, reason in cases:
        error = refusal(given, context=context)
        assert isinstance(error, TlsRefused)
        assert "the broker's certificate" in str(error)
        assert reason in str(error)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_asks_for_a_certificate_is_named(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    context = tls_server(authority, wants=authority.cafile)
    context.maximum_version = version
    certfile, keyfile = other.issue("stranger")
    own = {"ssl_certfile": str(certfile), "ssl_keyfile": str(keyfile)}
    with picky(context) as port:
        without = asyncio.run(refused(at(port, tls(authority))))
        with_another = asyncio.run(refused(at(port, tls(authority) | own)))
    assert isinstance(without, TlsRefused)
    assert "it asks for a certificate of the client; give NEXTACT_SSL_CERTFILE" in str(without)
    assert isinstance(with_another, TlsRefused)
    assert f"it does not accept the certificate {certfile}" in str(with_another)


def test_a_server_without_tls_that_is_no_broker(tmp_path: Path) -> None:
    error = refusal(tls(Authority(tmp_path)), web)
    assert isinstance(error, TlsRefused | WrongProtocol)
    assert "see" in str(error)
