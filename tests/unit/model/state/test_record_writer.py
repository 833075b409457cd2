"""The compiled writer of records against `struct`."""

from __future__ import annotations

import struct
from zlib import crc32

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.kernels.crc32 import TABLES
from model.state.record_writer import RecordColumns, write_number, write_records

HEAD = struct.Struct("<BIHHHIqqqQQ")


@given(st.integers(0, 2**64 - 1), st.integers(1, 8), st.integers(0, 3))
def test_a_number_is_written_with_its_lowest_byte_first(value: int, size: int, at: int) -> None:
    out = np.zeros(at + size + 2, np.uint8)
    assert write_number(out, at, np.uint64(value), size) == at + size
    assert out.tobytes() == bytes(at) + (value % 256**size).to_bytes(size, "little") + bytes(2)


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=5)), max_size=4), st.integers(1, 2), st.data())
def test_records_are_as_struct_writes_them(users: list[tuple[int, bytes]], version: int, data: st.DataObject) -> None:
    rng, count = np.random.default_rng(data.draw(st.integers(0, 2**32))), len(users)
    columns = RecordColumns(
        epoch=int(rng.integers(2**32)),
        offsets=rng.integers(-(2**63), 2**63 - 1, count),
        counts=rng.integers(0, 2**63 - 1, count),
        last_times=rng.integers(-(2**63), 2**63 - 1, count),
        sessions=rng.integers(0, 2**64, count, np.uint64),
        weights_id=rng.integers(0, 2**64, count, np.uint64),
        hidden=rng.integers(0, 2**16, (count, 2), np.uint16),
        event_ids=rng.integers(0, 2**64, (count, 1), np.uint64),
        item_keys=rng.integers(0, 2**64, (count, 3), np.uint64),
        contexts=rng.integers(0, 2**32, (count, 3), np.uint32),
        sizes=np.array([size for size, _ in users], np.int64),
        sections=np.frombuffer(bytearray().join([more for _, more in users]), np.uint8),
        section_starts=np.cumsum([0, *(len(more) for _, more in users)]),
        version=version,
    )
    text, starts = write_records(columns, HEAD.size, TABLES)
    wanted = [plainly(columns, user) for user in range(count)]
    assert text.tobytes() == b"".join(wanted)
    assert starts.tolist() == np.cumsum([0, *map(len, wanted)]).tolist()


def plainly(users: RecordColumns, user: int) -> bytes:
    size = int(users.sizes[user])
    numbers = [users.offsets, users.counts, users.last_times, users.sessions, users.weights_id]
    head = HEAD.pack(users.version, 0, 2, 1, size, users.epoch, *(int(column[user]) for column in numbers))
    actions = [struct.pack("<QI", users.item_keys[user, n], users.contexts[user, n]) for n in range(size)]
    first, last = users.section_starts[user : user + 2]
    body = [users.hidden[user].tobytes(), users.event_ids[user].tobytes(), *actions]
    record = head + b"".join(body) + users.sections[first:last].tobytes()
    return record[:1] + crc32(record[5:]).to_bytes(4, "little") + record[5:]
