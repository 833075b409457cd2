"""How old the statistics of a worker are, and what was forgotten; the reading is tried on a real broker."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stream_app.settings import load_settings
from stream_app.statistics.follower import StatisticsFollower
from stream_app.statistics.metrics import StatisticsMetrics
from stream_app.statistics.position import FORMAT, Position
from tests.unit.builders.exact_counting import ExactTable


def test_age_is_that_of_the_newest_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, now = CollectorRegistry(), [1000.0]
    table = ExactTable()
    settings = load_settings({"data_dir": tmp_path})
    follower = StatisticsFollower(settings, table, StatisticsMetrics(registry), lambda: now[0])

    def sample(name: str, labels: Any = None) -> float:
        value = registry.get_sample_value(f"nextact_statistics_{name}", labels)
        assert value is not None
        return value

    assert math.isnan(sample("age_seconds")), "there is no topic"
    monkeypatch.setattr(StatisticsFollower, "has_topic", True)
    now[0] = 1060.0
    assert sample("age_seconds") == 60, "nobody has counted since the start"
    follower.live.position = Position(
        format=FORMAT, topic="e", epoch=1, offsets={}, written=1_059_000, until=1_058_000, dropped={"items": 2}
    )
    assert sample("age_seconds") == 2
    table.dropped = {"items": 1, "neighbours": 4}
    assert sample("dropped_total", {"kind": "items"}) == 3
    assert sample("dropped_total", {"kind": "neighbours"}) == 4
    table.apply([b"a"], [b"1"])
    assert (sample("items"), sample("bytes")) == (1, 100)
