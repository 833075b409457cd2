"""What stands for a batch that cannot be read."""

from __future__ import annotations

import pytest
from aiokafka import ConsumerRecord

from tests.unit.builders.basics import unreadable_batch


@pytest.mark.parametrize(("first", "last", "records"), [(5, 5, 1), (5, 9, 5), (0, 2**40, 2**40 + 1)])
def test_a_batch_stands_for_all_its_offsets_at_the_last_of_them(first: int, last: int, records: int) -> None:
    batch = unreadable_batch(first, last)
    assert isinstance(batch, ConsumerRecord)
    assert (batch.offset, batch.records) == (last, records)
    assert (batch.key, batch.value, list(batch.headers)) == (None, None, [])
