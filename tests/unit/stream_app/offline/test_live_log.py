"""A log as records: in the order of time, on the partitions of its users, in batches as a live stream makes them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from stream_app.offline.live_log import MOST_EVENTS, SPAN_MS, LiveLog, batches
from stream_app.offline.log_reader import EventRecord
from tests.unit.builders.live import actions_in, live_log, shop_log


def log_of(steps: list[tuple[int, int]]) -> LiveLog:
    """Events of users, each so many milliseconds after the one before."""
    time, records = 0, []
    for step, user in steps:
        time += step
        records.append(EventRecord(time, f"u{user}".encode(), b"{}"))
    return live_log([], records)


@given(st.lists(st.tuples(st.sampled_from([0, 0, 3, 20, 400]), st.integers(0, 200)), max_size=300))
def test_a_batch_ends_at_a_users_second_event_at_64_events_or_after_a_second(steps: list[tuple[int, int]]) -> None:
    records = log_of(steps).records
    made = list(batches(records))
    assert [record for batch in made for record in batch] == list(records)
    for batch in made:
        assert 0 < len(batch) <= MOST_EVENTS
        assert len({record.key for record in batch}) == len(batch)
        assert batch[-1].timestamp - batch[0].timestamp < SPAN_MS
    for batch, following in pairwise(made):
        assert (
            len(batch) == MOST_EVENTS
            or following[0].key in {record.key for record in batch}
            or following[0].timestamp - batch[0].timestamp >= SPAN_MS
        )


def test_no_batch_hangs_on_what_comes_after_it() -> None:
    records = live_log([], shop_log(300, seed=1)).records
    whole = list(batches(records))
    for end in range(0, 300, 7):
        part = list(batches(records[:end]))
        assert part[:-1] == whole[: len(part) - 1] if part else end == 0
        assert not part or part[-1] == whole[len(part) - 1][: len(part[-1])]


def test_records_are_in_the_order_of_time_and_where_their_publisher_puts_them() -> None:
    events = [
        EventRecord(2, b"b", b"1"), EventRecord(1, b"a", b"2"), EventRecord(2, b"c", b"3"), EventRecord(1, b"d", b"4")
    ]  # fmt: skip
    log = live_log([], events)
    assert [(record.timestamp, record.value) for record in log.records] == [(1, b"2"), (1, b"4"), (2, b"1"), (2, b"3")]
    assert [record.offset for record in log.records] == [0, 1, 2, 3]
    choose = DefaultPartitioner()
    assert [record.partition for record in log.records] == [
        choose(key, [0, 1, 2], [0, 1, 2]) for key in b"a d b c".split()
    ]


def test_what_was_before_is_known_of_those_who_come() -> None:
    before, after = shop_log(400, seed=2, users=30), shop_log(40, seed=3, begin=1_800_000_000_000, users=15)
    log, actions = live_log(before, after), actions_in(before)
    comers = {record.key.decode() for record in after}
    distinct = Counter(zip(actions.users, actions.event_ids.tolist(), actions.lines.tolist(), strict=True))
    counts = Counter(user for user, _, _ in distinct if user in comers)
    assert dict(zip(log.past.users, log.past.counts.tolist(), strict=True)) == counts
    assert set(log.item_keys.tolist()) == set(actions.item_keys[actions.types != 1].tolist())
