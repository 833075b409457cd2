"""What a result says of its batch, and results of partitions that have none."""

from __future__ import annotations

import numpy as np

from stream_app.pipeline.batch_result import BatchResult, without_records


def test_the_newest_record_is_the_one_with_the_latest_time() -> None:
    result = BatchResult(0, "rules")
    assert result.newest == 0
    result.record_times = np.array([5, 9, 7])
    assert result.newest == 9


def test_a_partition_whose_fetch_had_no_records_gets_a_result_without_effects() -> None:
    added = without_records([3, 1, 2], [BatchResult(2, "model")])
    assert added == [BatchResult(1, "rules"), BatchResult(3, "rules")]
