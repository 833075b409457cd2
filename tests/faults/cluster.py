"""Three brokers on this machine, any of which can be stopped or killed: who leads, who controls, who is in sync."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError

from stream_app.kafka.clients import new_admin
from stream_app.sandbox.cluster import Broker
from stream_app.sandbox.secure import ADMIN
from stream_app.settings import Settings
from tests.faults.quotas import limit_producers
from tests.faults.waiting import until
from tests.integration.principals import secured_fields

NODES: Final = 3
_HEAP_MB: Final = 384
_HEALTHY_S: Final = 90.0


class Cluster:
    """An embedded Kafka of three nodes; every partition has three replicas, two of them must be in sync."""

    def __init__(self, place: Path, *, version: str | None = None, secure: Path | None = None) -> None:
        self._place = place
        self._broker = Broker(place, nodes=NODES, version=version, secure=secure, heap_mb=_HEAP_MB)

    async def start(self) -> None:
        """Starts all nodes; raises `BrokerFailed`."""
        await asyncio.to_thread(self._broker.start)

    async def stop(self) -> None:
        """Ends all nodes."""
        await asyncio.to_thread(self._broker.stop)

    @property
    def addresses(self) -> str:
        """Bootstrap servers: all nodes, up or not."""
        return self._broker.bootstrap_servers

    @property
    def connection(self) -> dict[str, Any]:
        """The settings with which a stream's processes and clients connect, before they take a role."""
        return secured_fields(self._broker) if self._broker.secured else {"brokers": self.addresses}

    @property
    def running(self) -> set[int]:
        """Ids of the nodes that are up."""
        return set(self._broker.pids)

    async def take_down(self, *nodes: int, clean: bool) -> None:
        """Stops nodes (SIGTERM) or kills them (SIGKILL), all at once."""
        end = self._broker.stop_node if clean else self._broker.kill_node
        await asyncio.gather(*(asyncio.to_thread(end, node) for node in nodes))

    async def start_node(self, node: int) -> None:
        """Starts one of the nodes that are down; nothing need be in sync then."""
        await asyncio.to_thread(self._broker.start_nodes, node)

    async def bring_back(self) -> None:
        """Starts the nodes that are down, and waits until all replicas are in sync again."""
        down = {node.id for node in self._broker.nodes} - self.running
        await asyncio.to_thread(self._broker.start_nodes, *sorted(down))
        await self.healthy()

    async def leader(self, topic: str, partition: int) -> int:
        """The node that leads a partition."""
        return (await self.leaders(topic))[partition]

    async def leaders(self, topic: str) -> dict[int, int]:
        """The node that leads each partition; -1: none."""
        return {entry["partition"]: int(entry["leader"]) for entry in (await self._topics([topic]))[0]["partitions"]}

    async def replicas(self, topic: str) -> dict[int, set[int]]:
        """The nodes that have each partition."""
        return {entry["partition"]: set(entry["replicas"]) for entry in (await self._topics([topic]))[0]["partitions"]}

    def controller(self) -> int:
        """The node that leads the controllers' quorum.

        Read from the nodes' own files: to clients, Kafka names any node as the controller.
        """
        states = [json.loads(path.read_bytes()) for path in self._place.glob("node-*/records/**/quorum-state")]
        return int(max(states, key=lambda state: (state["leaderEpoch"], state["leaderId"]))["leaderId"])

    async def healthy(self) -> None:
        """Returns when every partition of every topic has all its replicas in sync."""
        await until(self._in_sync, _HEALTHY_S, "all replicas in sync")

    async def throttle(self, clients: Sequence[str], rate: int | None) -> None:
        """Brokers take `rate` bytes per second from each of these client ids; None: as many as come."""
        admin = await self._admin()
        try:
            for client in clients:
                await limit_producers(admin, client, rate)
        finally:
            await admin.close()

    async def make_topic(self, name: str, partitions: int, replicas: int, config: Mapping[str, str]) -> None:
        """Makes a topic as somebody else would, before the program can."""
        admin = await self._admin()
        try:
            topic = NewTopic(name, partitions, replicas, topic_configs=dict(config))
            await admin.create_topics([topic], timeout_ms=20_000)
        finally:
            await admin.close()

    async def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Deletes the records before an offset, by partition, as retention does."""
        admin = await self._admin()
        try:
            chosen = {TopicPartition(topic, number): RecordsToDelete(offset) for number, offset in before.items()}
            await admin.delete_records(chosen)
        finally:
            await admin.close()

    async def delete(self, topics: list[str]) -> None:
        """Deletes topics, so that a later run does not pay for them."""
        admin = await self._admin()
        try:
            await admin.delete_topics(topics, timeout_ms=20_000)
        finally:
            await admin.close()

    async def _in_sync(self) -> bool:
        try:
            topics = await self._topics(None)
        except (KafkaError, OSError, TimeoutError):
            return False
        partitions = [entry for topic in topics for entry in topic["partitions"]]
        return all(len(entry["isr"]) == len(entry["replicas"]) for entry in partitions)

    async def _topics(self, names: list[str] | None) -> list[dict[str, Any]]:
        admin = await self._admin()
        try:
            found: list[dict[str, Any]] = await admin.describe_topics(names)
            return found
        finally:
            await admin.close()

    async def _admin(self) -> AIOKafkaAdminClient:
        fields = self._broker.secure.settings_for(ADMIN) if self._broker.secured else {"brokers": self.addresses}
        admin = new_admin(Settings.model_construct(**fields), "operator", request_timeout_ms=10_000)
        await admin.start()
        return admin
