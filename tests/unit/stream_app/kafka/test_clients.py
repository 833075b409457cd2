"""Kafka clients are made in one place, Faust's own included, and all have what the settings say."""

from __future__ import annotations

import ast
import asyncio
import os
import socket
from typing import Any

import pytest

from stream_app.kafka import clients
from stream_app.kafka.clients import client_id, new_admin, new_consumer, new_producer
from stream_app.settings import Settings
from stream_app.worker.faust_fetch_thread import FetchThread
from stream_app.worker.faust_transport import FetchConsumer
from tests.paths import ROOT
from tests.unit.builders.consumers import run as with_consumer

CLIENTS = {"AIOKafkaConsumer", "LenientConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "AIOKafkaClient"}
PLACE = ROOT / "stream_app" / "kafka" / "clients.py"
READER = ROOT / "stream_app" / "kafka" / "lenient_consumer.py"  # aiokafka's consumer with another reader: makes none


def made_in(source: str) -> list[str]:
    """The clients that a module makes, by the names that it calls or derives a class from."""
    nodes = list(ast.walk(ast.parse(source)))
    used = [node.func for node in nodes if isinstance(node, ast.Call)]
    used += [base for node in nodes if isinstance(node, ast.ClassDef) for base in node.bases]
    return [name for one in used if (name := ast.unparse(one).rpartition(".")[2]) in CLIENTS]


def test_no_other_module_makes_a_client() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "stream_app").rglob("*.py")}
    assert made_in(sources.pop(READER)) == ["AIOKafkaConsumer"]
    assert {path: made for path, source in sources.items() if path != PLACE and (made := made_in(source))} == {}
    assert set(made_in(sources[PLACE])) == CLIENTS - {"AIOKafkaClient", "AIOKafkaConsumer"}, (
        "the guard sees them where they are made"
    )


def test_faust_makes_none_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its consumer and its producer come from here, whatever Faust's own code would make."""
    made: list[dict[str, Any]] = []

    def note(**options: Any) -> str:
        made.append(options)
        return "made here"

    async def body(consumer: FetchConsumer) -> None:
        thread = consumer._thread
        assert isinstance(thread, FetchThread)
        assert thread._create_consumer(loop=asyncio.get_running_loop()) == "made here"
        assert consumer.app.producer._new_producer() == "made here"

    monkeypatch.setattr("faust.transport.drivers.aiokafka.aiokafka.AIOKafkaConsumer", None)
    monkeypatch.setattr("faust.transport.drivers.aiokafka.aiokafka.AIOKafkaProducer", None)
    monkeypatch.setattr(clients, "Consumer", note)
    monkeypatch.setattr(clients, "Producer", note)
    with_consumer(body)
    assert [options["client_id"] for options in made] == [client_id(Settings(), "worker")] * 2


def test_a_client_has_a_name_that_says_who_it_is() -> None:
    here = f"{socket.gethostname()}-{os.getpid()}"
    assert client_id(Settings(), "trainer") == f"nextact-trainer-{here}"
    assert client_id(Settings(instance_id="pod 3/ä"), "worker") == "nextact-worker-pod-3--"
    assert len(client_id(Settings(instance_id="x" * 500), "worker")) < 249


@pytest.mark.parametrize("make", [new_consumer, new_producer, new_admin])
def test_every_client_has_addresses_name_and_security(make: Any) -> None:
    settings = Settings(
        brokers="one:9093,two:9093",
        instance_id="a",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="ada",
        sasl_password="secret",
        client_rack="zone-1",
    )

    async def run() -> None:
        client = make(settings, "operator")
        inner = client.client if make is new_producer else client._client
        assert inner._bootstrap_servers == "one:9093,two:9093"
        assert inner._client_id == "nextact-operator-a"
        assert inner._security_protocol == "SASL_SSL"
        assert inner._ssl_context.check_hostname is True
        assert inner._sasl_mechanism == "SCRAM-SHA-512"
        assert (inner._sasl_plain_username, inner._sasl_plain_password) == ("ada", "secret")
        if make is new_consumer:
            assert client._client_rack == "zone-1"
            assert client._enable_auto_commit is False
        await (client.close() if make is new_admin else client.stop())

    asyncio.run(run())


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_producers_compress_as_is_set(compression: Any) -> None:
    async def run() -> None:
        producer = new_producer(Settings(compression=compression), "publisher")
        assert producer._compression_type == (None if compression == "none" else compression)
        await producer.stop()

    asyncio.run(run())
