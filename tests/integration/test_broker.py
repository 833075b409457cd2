"""The embedded broker is a real Kafka: records survive a restart, and no JVM survives its parent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_app.errors import BrokerFailed, RuntimeMissing, SettingsInvalid, UsageError
from stream_app.sandbox.cluster import Broker

pytestmark = pytest.mark.broker

TOPIC = "records"


async def create_topic(bootstrap_servers: str, copies: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=copies)])
    finally:
        await admin.close()


async def produce(bootstrap_servers: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    async with producer:
        for value in values:
            await producer.send_and_wait(TOPIC, value)


async def consume(bootstrap_servers: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    async with consumer, asyncio.timeout(20):
        consumer.assign([TopicPartition(TOPIC, 0)])
        await consumer.seek_to_beginning()
        return [(await consumer.getone()).value for _ in range(count)]


def test_records_and_ports_survive_a_restart_and_a_killed_parent(tmp_path: Path, kafka_version: str | None) -> None:
    with Broker(tmp_path, version=kafka_version) as first:
        address = first.bootstrap_servers
        asyncio.run(create_topic(address, copies=1))
        asyncio.run(produce(address, b"one"))
        assert_a_second_broker_is_refused(first)
        first.wait(0.3)
        first_pid = first.pids[1]
    assert not psutil.pid_exists(first_pid)

    orphan_pid = start_in_a_parent_that_is_killed(tmp_path)
    with Broker(tmp_path) as again:  # without waiting: the orphan may still be ending
        assert not psutil.pid_exists(orphan_pid)
        assert again.bootstrap_servers == address
        assert asyncio.run(consume(address, 1)) == [b"one"]
        psutil.Process(again.pids[1]).kill()
        with pytest.raises(BrokerFailed, match="node 1 ended with exit code -9"):
            again.wait(10)


def assert_a_second_broker_is_refused(running: Broker) -> None:
    with pytest.raises(UsageError, match="is in use by a running broker"):
        Broker(running.data_dir).start()
    with pytest.raises(SettingsInvalid, match="is in use"):
        Broker(running.data_dir / "other", port=running.nodes[0].port).start()
    with pytest.raises(BrokerFailed, match="started already"):
        running.start()
    assert running.pids


def start_in_a_parent_that_is_killed(data_dir: Path) -> int:
    script = f"""
import time
from pathlib import Path
from stream_app.sandbox.cluster import Broker
with Broker(Path({str(data_dir)!r})) as broker:
    print(broker.pids[1], flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    return pid


def test_the_oldest_kafka_runs_and_its_directory_stays_with_it(tmp_path: Path) -> None:
    with Broker(tmp_path, version="3.3") as old:
        assert old.version == "3.3.2"
        asyncio.run(create_topic(old.bootstrap_servers, copies=1))
        asyncio.run(produce(old.bootstrap_servers, b"old"))
        assert asyncio.run(consume(old.bootstrap_servers, 1)) == [b"old"]
    with pytest.raises(SettingsInvalid, match=r"made by Kafka 3\.3\.2, not 4\.4\.0"):
        Broker(tmp_path, version="4.4").start()
    assert "FATAL" not in (tmp_path / "node-1" / "kafka.log").read_text()


def test_a_version_that_no_repository_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match=r"Apache Kafka 3\.9\.99 is not complete"):
        Broker(tmp_path, version="3.9.99").start()


def test_three_nodes_take_records_while_one_is_down(tmp_path: Path, kafka_version: str | None) -> None:
    with Broker(tmp_path, nodes=3, version=kafka_version) as cluster:
        address = cluster.bootstrap_servers
        asyncio.run(create_topic(address, copies=3))
        asyncio.run(produce(address, b"three nodes"))

        cluster.kill_node(1)
        started = time.monotonic()
        asyncio.run(produce(address, b"two nodes"))
        print(f"first acknowledgement {time.monotonic() - started:.1f} s after the kill")
        assert sorted(cluster.pids) == [2, 3]

        cluster.start_nodes(1)
        cluster.stop_node(2)
        asyncio.run(produce(address, b"two others"))
        assert asyncio.run(consume(address, 3)) == [b"three nodes", b"two nodes", b"two others"]
        pids = list(cluster.pids.values())
    assert not any(psutil.pid_exists(pid) for pid in pids)
