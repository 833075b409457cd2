"""The nodes and ports that a data directory remembers of its cluster, and Kafka's configuration of each node."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from stream_app.errors import SettingsInvalid, UsageError
from stream_app.sandbox.ports import HOST, free_port, is_free
from stream_app.sandbox.runtime import KAFKA_VERSION

_VERSION_BEFORE: Final = "4.4.0"  # of the data directories that do not say it


@dataclass(frozen=True, slots=True)
class Node:
    """One broker and controller of the cluster, and where it listens."""

    id: int
    port: int
    controller_port: int
    internal_port: int = 0
    """Where the brokers of a secured cluster listen to each other; 0: the cluster is open."""

    @property
    def address(self) -> str:
        """The address for Kafka clients, `host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def internal_address(self) -> str:
        """The address for clients of a secured cluster that show a certificate, `host:port`."""
        return f"{HOST}:{self.internal_port}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The id of a cluster, its nodes with their ports, and the version of Kafka that its records are kept by."""

    cluster_id: str
    nodes: tuple[Node, ...]
    kafka_version: str = _VERSION_BEFORE

    @property
    def secured(self) -> bool:
        """Whether clients must say who they are, and may do only what they have the right to."""
        return all(node.internal_port for node in self.nodes)

    @classmethod
    def read(cls, path: Path) -> Layout | None:
        """Reads the layout from file `path`; None if there is no file. Raises UsageError if it cannot be read."""
        try:
            fields = json.loads(path.read_bytes())
            nodes = tuple(Node(**node) for node in fields["nodes"])
            return cls(fields["cluster_id"], nodes, fields.get("kafka_version", _VERSION_BEFORE))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path} is damaged ({error!r}); use another data directory") from error

    def write(self, path: Path) -> None:
        """Replaces the file in one step, so that a crash leaves the old one or the new one."""
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        draft.replace(path)


def plan_layout(
    known: Layout | None, *, nodes: int, port: int, version: str | None = None, secured: bool = False
) -> Layout:
    """Returns the layout to start with: the known one, with the requested ports, and new ports for those in use.

    `port` is the first node's, the others count up from it; 0 means the remembered ports, or free ones.
    `version` of Kafka: None means the remembered one, or the present one.
    Raises SettingsInvalid for a requested port in use, and for another number of nodes or version than the known ones,
    or when one is secured and the other open.
    """
    if nodes < 1 or not 0 <= port <= 65_536 - nodes:
        raise SettingsInvalid(f"nodes={nodes}, port={port}: there must be 1 node or more, on ports up to 65535")
    if known is not None and len(known.nodes) != nodes:
        raise SettingsInvalid(
            f"the data directory was made for nodes={len(known.nodes)}, not {nodes}; "
            f"start it with nodes={len(known.nodes)} or use another directory"
        )
    if known is not None and version not in (None, known.kafka_version):
        raise SettingsInvalid(
            f"the data directory was made by Kafka {known.kafka_version}, not {version}; start it with "
            f"{known.kafka_version} or use another directory"
        )
    if known is not None and secured != known.secured:
        raise SettingsInvalid(
            "the data directory is that of a secured broker; start it with --secure or use another directory"
            if known.secured
            else "the data directory is that of a broker without security; start it so or use another directory"
        )
    requested = [port + index for index in range(nodes)] if port else []
    for number in requested:
        if not is_free(number):
            raise SettingsInvalid(
                f"port {number} of {HOST} is in use or not permitted; choose another one, or 0 for a free one"
            )
    remembered = known.nodes if known else ()
    client_ports = requested or _keep_free([node.port for node in remembered], nodes, taken=[])
    controllers = _keep_free([node.controller_port for node in remembered], nodes, taken=client_ports)
    internal = [node.internal_port for node in remembered]
    internals = _keep_free(internal, nodes, taken=[*client_ports, *controllers]) if secured else [0] * nodes
    ports = zip(client_ports, controllers, internals, strict=True)
    return Layout(
        cluster_id=known.cluster_id if known else _new_cluster_id(),
        nodes=tuple(Node(index, *each) for index, each in enumerate(ports, start=1)),
        kafka_version=known.kafka_version if known else version or KAFKA_VERSION,
    )


def _keep_free(wanted: Sequence[int], count: int, *, taken: Sequence[int]) -> list[int]:
    """Returns `count` ports, none of them in `taken`: the wanted ones where they are free, else other free ones."""
    ports = [port if port not in taken and is_free(port) else 0 for port in wanted] or [0] * count
    others = (port for port in iter(free_port, None) if port not in (*ports, *taken))
    return [port or next(others) for port in ports]


def _new_cluster_id() -> str:
    # Kafka's form of a UUID; the first byte keeps it from starting with a dash, which its tools misread.
    return base64.urlsafe_b64encode(b"N" + os.urandom(15)).decode().rstrip("=")


def server_properties(layout: Layout, node: Node, directory: Path, security: Mapping[str, object] | None = None) -> str:
    """Returns Kafka's configuration of a node that keeps its records in `directory`/records.

    `security`: what a secured node has other than an open one.
    """
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
        "log.dirs": _log_directory(directory / "records"),
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
    return "".join(f"{name}={value}\n" for name, value in {**settings, **(security or {})}.items())


def logging_properties(directory: Path) -> str:
    """Returns the configuration of Kafka's logging: warnings and errors to `directory`/kafka.log, 20 MB at most."""
    return f"""status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={escape(directory / "kafka.log")}
appender.file.filePattern={escape(directory / "kafka.log.%i")}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %m (%c)%n
appender.file.policies.type=SizeBasedTriggeringPolicy
appender.file.policies.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=1
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
"""


def _log_directory(path: Path) -> str:
    if "," in str(path):
        raise SettingsInvalid(f"data directory {path}: Kafka takes no directory with a comma in its name")
    return escape(path)


def escape(path: Path) -> str:
    """Escapes a path as a value of a Java properties file, whose escapes for non-ASCII text are those of JSON."""
    return json.dumps(str(path))[1:-1]
