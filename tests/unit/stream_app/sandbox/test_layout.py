"""What a cluster's data directory remembers, and the configuration of Kafka's nodes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_app.errors import SettingsInvalid, UsageError
from stream_app.sandbox.layout import Layout, Node, logging_properties, plan_layout, server_properties
from stream_app.sandbox.ports import HOST, is_free

ONE = Layout("Nabc", (Node(1, 9092, 9093),))
THREE = Layout("Nabc", tuple(Node(number, 9090 + number, 9190 + number) for number in (1, 2, 3)))


def settings_of(layout: Layout, node: Node, directory: Path) -> dict[str, str]:
    lines = server_properties(layout, node, directory).splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def test_one_node_listens_on_loopback_only_and_replicates_nothing(tmp_path: Path) -> None:
    settings = settings_of(ONE, ONE.nodes[0], tmp_path)
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert settings["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9092"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:9093"
    assert settings["log.dirs"] == str(tmp_path / "records")
    assert settings["auto.create.topics.enable"] == "false"
    assert settings["group.initial.rebalance.delay.ms"] == "0"
    copies = {value for name, value in settings.items() if name.endswith(("replication.factor", ".isr", "replicas"))}
    assert copies == {"1"}


def test_three_nodes_form_one_quorum_with_three_copies(tmp_path: Path) -> None:
    all_settings = [settings_of(THREE, node, tmp_path / str(node.id)) for node in THREE.nodes]
    assert [settings["node.id"] for settings in all_settings] == ["1", "2", "3"]
    assert len({settings["listeners"] for settings in all_settings}) == 3
    for settings in all_settings:
        assert settings["controller.quorum.voters"] == "1@127.0.0.1:9191,2@127.0.0.1:9192,3@127.0.0.1:9193"
        assert settings["offsets.topic.replication.factor"] == "3"
        assert settings["transaction.state.log.replication.factor"] == "3"
        assert settings["transaction.state.log.min.isr"] == "2"
        assert settings["default.replication.factor"] == "3"
        assert settings["min.insync.replicas"] == "2"


def test_a_path_outside_ascii_is_escaped_and_a_comma_refused() -> None:
    assert settings_of(ONE, ONE.nodes[0], Path("/dätä"))["log.dirs"] == "/d\\u00e4t\\u00e4/records"
    with pytest.raises(SettingsInvalid, match="comma"):
        server_properties(ONE, ONE.nodes[0], Path("/a,b"))


def test_kafka_logs_to_the_nodes_directory(tmp_path: Path) -> None:
    lines = logging_properties(tmp_path).splitlines()
    assert f"appender.file.fileName={tmp_path / 'kafka.log'}" in lines
    assert "rootLogger.level=warn" in lines


def test_a_layout_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    assert Layout.read(path) is None
    THREE.write(path)
    assert Layout.read(path) == THREE


@pytest.mark.parametrize("content", ["", "[]", '{"cluster_id": "N"}', json.dumps({"nodes": [{}], "cluster_id": "N"})])
def test_a_damaged_layout_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"cluster\.json is damaged"):
        Layout.read(path)


def test_free_ports_are_distinct_and_remembered() -> None:
    first = plan_layout(None, nodes=3, port=0)
    ports = [port for node in first.nodes for port in (node.port, node.controller_port)]
    assert len(set(ports)) == 6
    assert all(is_free(port) for port in ports)
    assert [node.id for node in first.nodes] == [1, 2, 3]
    assert plan_layout(first, nodes=3, port=0) == first


def test_a_remembered_port_in_use_is_replaced_and_the_others_stay(busy_port: int) -> None:
    free = plan_layout(None, nodes=1, port=0)
    known = Layout("Nabc", (Node(1, busy_port, free.nodes[0].controller_port),))
    plan = plan_layout(known, nodes=1, port=0)
    assert plan.cluster_id == "Nabc"
    assert plan.nodes[0].port != busy_port
    assert plan.nodes[0].controller_port == known.nodes[0].controller_port


def test_requested_ports_count_up_from_the_first() -> None:
    port = next(p for p in range(40_000, 60_000) if all(is_free(p + offset) for offset in range(3)))
    plan = plan_layout(None, nodes=3, port=port)
    assert [node.port for node in plan.nodes] == [port, port + 1, port + 2]


def test_a_requested_port_in_use_is_refused(busy_port: int) -> None:
    with pytest.raises(SettingsInvalid, match=f"port {busy_port} of 127.0.0.1 is in use"):
        plan_layout(None, nodes=1, port=busy_port)


@pytest.mark.parametrize(("nodes", "port"), [(0, 0), (1, -1), (1, 65_536), (3, 65_534)])
def test_impossible_numbers_are_refused(nodes: int, port: int) -> None:
    with pytest.raises(SettingsInvalid, match=f"nodes={nodes}, port={port}"):
        plan_layout(None, nodes=nodes, port=port)


def test_a_directory_made_for_another_number_of_nodes_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="made for nodes=3, not 1"):
        plan_layout(THREE, nodes=1, port=0)


def test_a_directory_remembers_its_version_and_refuses_another() -> None:
    old = plan_layout(None, nodes=1, port=0, version="3.9.2")
    assert old.kafka_version == "3.9.2"
    assert plan_layout(old, nodes=1, port=0).kafka_version == "3.9.2"
    assert plan_layout(old, nodes=1, port=0, version="3.9.2") == old
    with pytest.raises(
        SettingsInvalid, match=r"made by Kafka 3\.9\.2, not 4\.4\.0; start it with 3\.9\.2 or use another"
    ):
        plan_layout(old, nodes=1, port=0, version="4.4.0")


def test_a_directory_from_before_versions_were_remembered_is_of_4_4_0(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    path.write_text('{"cluster_id": "N", "nodes": [{"id": 1, "port": 9092, "controller_port": 9093}]}')
    known = Layout.read(path)
    assert known is not None
    assert known.kafka_version == "4.4.0"


def test_a_secured_cluster_has_a_port_of_its_own_between_brokers_and_stays_secured() -> None:
    secured = plan_layout(None, nodes=3, port=0, secured=True)
    assert secured.secured
    assert len({p for node in secured.nodes for p in (node.port, node.controller_port, node.internal_port)}) == 9
    assert plan_layout(secured, nodes=3, port=0, secured=True) == secured
    with pytest.raises(SettingsInvalid, match="that of a secured broker; start it with --secure"):
        plan_layout(secured, nodes=3, port=0)
    with pytest.raises(SettingsInvalid, match="that of a broker without security"):
        plan_layout(THREE, nodes=3, port=0, secured=True)


def test_what_a_secured_node_has_replaces_what_an_open_one_has(tmp_path: Path) -> None:
    lines = server_properties(ONE, ONE.nodes[0], tmp_path, {"listeners": "CLIENTS://x", "new": 1}).splitlines()
    assert [line for line in lines if line.startswith(("listeners=", "new="))] == ["listeners=CLIENTS://x", "new=1"]
