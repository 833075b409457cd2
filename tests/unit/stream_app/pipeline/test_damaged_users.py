"""What is said of stored users who cannot be read."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from model.data.events import stable_hash
from stream_app.pipeline.damaged_users import DamagedUsers
from stream_app.pipeline.metrics import WorkerMetrics


def test_all_are_counted_and_the_first_of_a_partition_is_logged_without_its_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    damaged = DamagedUsers(WorkerMetrics(registry))
    for partition, user in ((3, "ada@example.org"), (3, "bob"), (5, "cid"), (3, "ada@example.org")):
        damaged.note(partition, user, "the checksum is wrong")
    assert registry.get_sample_value("nextact_damaged_users_total") == 4
    assert len(caplog.messages) == 2
    first = caplog.messages[0]
    for text in ("partition 3 ", f"{stable_hash('ada@example.org'):016x}", "the checksum is wrong"):
        assert text in first
    assert "ada" not in "".join(caplog.messages)
