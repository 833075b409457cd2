"""The embedded broker without a Java runtime: what it refuses. `tests/integration/test_broker.py` starts real ones."""

from __future__ import annotations

import fcntl
import logging
from pathlib import Path

import pytest

from stream_app.errors import BrokerFailed, UsageError
from stream_app.sandbox.cluster import Broker, node_is_ready
from stream_app.sandbox.layout import Node
from stream_app.sandbox.ports import free_port
from stream_app.settings import Settings


def test_a_data_directory_in_use_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="is in use by a running broker"):
            Broker(tmp_path).start()


def test_a_directory_that_a_kafka_process_still_uses_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "node-1" / "records"
    records.mkdir(parents=True)
    (records / ".lock").touch()
    monkeypatch.setattr("stream_app.sandbox.cluster.GRACE_S", -2.0)
    monkeypatch.setattr("stream_app.sandbox.cluster._is_locked", lambda _path: True)
    with pytest.raises(UsageError, match="a Kafka process still uses"):
        Broker(tmp_path).start()


def test_a_broker_that_was_not_started_has_no_address(tmp_path: Path) -> None:
    with pytest.raises(BrokerFailed, match="has not been started"):
        _ = Broker(tmp_path).bootstrap_servers


def test_a_node_where_nobody_listens_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        node = Node(1, free_port(), free_port())
        assert not node_is_ready(node, Settings.model_construct(brokers=node.address), {1})
    assert not [record for record in caplog.records if record.name.startswith("aiokafka")]
