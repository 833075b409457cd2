"""Users as bytes: everything comes back, whatever the sizes, and every damaged record is found."""

from __future__ import annotations

from dataclasses import fields, replace
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import RecordCorrupt
from model.state.sections import HIGHEST_TAG, joined_sections, split_sections
from model.state.user_record import (
    FIRST_VERSION,
    RECORD_VERSION,
    StoredUsers,
    UserRecords,
    last_actions,
    pack,
    record_position,
    unpack,
)

HIDDEN, IDS, LENGTH = 5, 3, 4
INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)


@st.composite
def users(draw: st.DrawFn) -> UserRecords:
    n = draw(st.integers(0, 4))
    sizes = np.array(draw(st.lists(st.integers(0, LENGTH), min_size=n, max_size=n)), np.int64)
    beyond = np.arange(LENGTH) >= sizes[:, None]
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    item_keys = random.integers(0, 2**64, (n, LENGTH), np.uint64)
    contexts = random.integers(0, 2**32, (n, LENGTH), np.uint32)
    item_keys[beyond], contexts[beyond] = 0, 0

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(values, min_size=n, max_size=n))

    return UserRecords(
        epoch=draw(st.integers(0, 2**32 - 1)),
        offsets=np.array(column(INT64), np.int64),
        counts=np.array(column(st.integers(0, 2**63 - 1)), np.int64),
        last_times=np.array(column(INT64), np.int64),
        sessions=np.array(column(UINT64), np.uint64),
        weights_id=np.array(column(UINT64), np.uint64),
        hidden=random.standard_normal((n, HIDDEN)).astype(np.float16),
        event_ids=random.integers(0, 2**64, (n, IDS), np.uint64),
        item_keys=item_keys,
        contexts=contexts,
        sizes=sizes,
    )


def one_user(size: int = 2) -> UserRecords:
    return UserRecords(
        epoch=7,
        offsets=np.array([41]),
        counts=np.array([9]),
        last_times=np.array([-3]),
        sessions=np.array([2**64 - 1], np.uint64),
        weights_id=np.array([8], np.uint64),
        hidden=(np.arange(HIDDEN)[None] / 8).astype(np.float16),
        event_ids=np.array([[0, 5, 6]], np.uint64),
        item_keys=np.array([[1, 2, 3, 4]], np.uint64),
        contexts=np.array([[10, 20, 30, 40]], np.uint32),
        sizes=np.array([size]),
    )


@given(users())
def test_every_field_comes_back(stored: UserRecords) -> None:
    records = pack(stored)
    rows = read(records, epoch=stored.epoch).rows
    assert len(records) == len(rows) == len(stored.offsets)
    names = {
        "offsets": "offset",
        "counts": "count",
        "last_times": "last_time",
        "sessions": "session",
        "weights_id": "weights",
    }
    for index, row in enumerate(rows):
        assert row["epoch"] == stored.epoch
        for column in fields(UserRecords)[1:6]:
            assert row[names.get(column.name, column.name)] == getattr(stored, column.name)[index]
        assert row["hidden"].tobytes() == stored.hidden[index].tobytes()
        assert row["event_ids"].tolist() == stored.event_ids[index].tolist()
        size = stored.sizes[index]
        assert row["actions_size"] == size
        for name, wanted in (("object", stored.item_keys), ("context", stored.contexts)):
            assert row["actions"][name][:size].tolist() == wanted[index, :size].tolist()
            assert not row["actions"][name][size:].any()


@pytest.mark.parametrize("size", range(LENGTH + 1))
def test_a_record_ends_with_its_last_action(size: int) -> None:
    header, per_action = 1 + 4 + 3 * 2 + 4 + 5 * 8, 8 + 4
    assert len(pack(one_user(size))[0]) == header + 2 * HIDDEN + 8 * IDS + per_action * size


def test_the_layouts_never_change() -> None:
    # Bytes in a changelog outlive the code that wrote them.
    assert (FIRST_VERSION, RECORD_VERSION) == (1, 2)
    checked = bytes.fromhex(
        "0500" "0300" "0200" "07000000" "2900000000000000" "0900000000000000" "fdffffffffffffff"
        "ffffffffffffffff" "0800000000000000" "0000" "0030" "0034" "0036" "0038"
        "0000000000000000" "0500000000000000" "0600000000000000"
        "0100000000000000" "0a000000" "0200000000000000" "14000000"
    )  # fmt: skip
    first = b"\x01" + crc32(checked).to_bytes(4, "little") + checked
    assert pack(replace(with_sections(one_user(), [{9: b"no"}]), version=FIRST_VERSION)) == [first]
    assert pack(one_user()) == [b"\x02" + first[1:]]
    checked += bytes.fromhex("0900" "03000000" "616263" "ff01" "00000000")  # fmt: skip
    sections = {0x1FF: b"", 9: b"abc"}
    assert pack(with_sections(one_user(), [sections])) == [b"\x02" + crc32(checked).to_bytes(4, "little") + checked]


SECTIONS = st.dictionaries(st.integers(1, HIGHEST_TAG), st.binary(max_size=9), max_size=3)


@given(users(), st.data())
def test_sections_come_back_whoever_reads_them(stored: UserRecords, data: st.DataObject) -> None:
    count = len(stored.sizes)
    wanted = data.draw(st.lists(SECTIONS, min_size=count, max_size=count))
    records = pack(with_sections(stored, wanted))
    for index, record in enumerate(records):
        total, last_time, actions = last_actions(record)
        assert (total, last_time) == (stored.counts[index], stored.last_times[index])
        for name, column in (("object", stored.item_keys), ("context", stored.contexts)):
            assert actions[name].tolist() == column[index, : stored.sizes[index]].tolist()
    for hidden, ids in ((HIDDEN, IDS), (HIDDEN + 1, IDS - 1)):
        found = read(records, epoch=stored.epoch, hidden=hidden, ids=ids)
        assert [split_sections(sections) for sections in found.sections] == wanted
        plain = read(pack(stored), epoch=stored.epoch, hidden=hidden, ids=ids)
        for name in set(found.rows.dtype.names or ()) - {"checksum"}:
            np.testing.assert_array_equal(found.rows[name], plain.rows[name])


def test_damaged_sections_are_found_and_of_a_later_version_left_out() -> None:
    record, fine = pack(one_user())[0], joined_sections({3: b"abc", 5: b""})
    swapped = joined_sections({5: b""}) + joined_sections({3: b"abc"})
    for sections in (
        fine[:-1],
        fine + b"\1",
        fine[:2] + b"\4" + fine[3:],
        swapped,
        joined_sections({0: b""}),
        2 * fine,
    ):
        damaged = resealed(record + sections)
        assert faults([damaged]).keys() == {0}
        later = read([b"\3" + damaged[1:]])
        assert (later.faults, later.sections) == ({}, [b""])
        np.testing.assert_array_equal(later.rows["actions"], read([record]).rows["actions"])


def test_every_single_flipped_byte_is_found() -> None:
    record = pack(one_user())[0]
    for index in range(1, len(record)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(record)
            damaged[index] ^= change
            assert faults([bytes(damaged)]).keys() == {0}
    assert faults([b"\0" + record[1:]]).keys() == {0}


def test_every_other_length_is_found() -> None:
    record = pack(one_user())[0]
    for damaged in (*(record[:end] for end in range(len(record))), record + b"\0", 2 * record):
        assert faults([damaged]).keys() == {0}


@given(st.binary(max_size=200))
def test_other_bytes_are_found(noise: bytes) -> None:
    for value in (noise, b"\x01" + noise, b"\x02" + noise):
        assert faults([value]).keys() == {0}
        for read in (record_position, last_actions):
            with pytest.raises(RecordCorrupt):
                read(value)


def test_damaged_records_among_sound_ones_are_found_and_the_others_read() -> None:
    sound = [pack(one_user(size))[0] for size in range(LENGTH + 1)]
    for index, record in enumerate(sound):
        for damaged in (record[:-1] + bytes([record[-1] ^ 1]), record[:-1], resealed(record + bytes(12))):
            stored = read([*sound[:index], damaged, *sound[index + 1 :]])
            assert stored.faults.keys() == {index}
            assert stored.indices.tolist() == [n for n in range(len(sound)) if n != index]
            assert stored.rows["actions_size"].tolist() == stored.indices.tolist()


SIZES = st.integers(0, 6)


@given(users(), SIZES, SIZES)
def test_a_record_of_other_sizes_keeps_everything_that_fits(stored: UserRecords, hidden: int, ids: int) -> None:
    rows = read(pack(stored), epoch=stored.epoch, hidden=hidden, ids=ids).rows
    assert rows["offset"].tolist() == stored.offsets.tolist()
    assert rows["count"].tolist() == stored.counts.tolist()
    assert rows["last_time"].tolist() == stored.last_times.tolist()
    assert rows["session"].tolist() == stored.sessions.tolist()
    for index, row in enumerate(rows):
        size = stored.sizes[index]
        assert row["actions"]["object"][:size].tolist() == stored.item_keys[index, :size].tolist()
        assert row["actions"]["context"][:size].tolist() == stored.contexts[index, :size].tolist()
        window = [0] * ids + stored.event_ids[index].tolist()
        assert row["event_ids"].tolist() == window[len(window) - ids :]
        if hidden == HIDDEN:
            assert row["weights"] == stored.weights_id[index]
            assert row["hidden"].tobytes() == stored.hidden[index].tobytes()
        else:
            assert row["weights"] == 0
            assert not row["hidden"].any()


def test_records_of_different_sizes_are_read_together() -> None:
    records = pack(one_user()) + pack(wider(one_user())) + pack(one_user(4))
    for hidden in (HIDDEN, HIDDEN + 3):
        rows = read(records, hidden=hidden).rows
        assert rows["actions"]["object"].tolist() == [[1, 2, 0, 0], [1, 2, 0, 0], [1, 2, 3, 4]]
        assert rows["weights"].tolist() == ([8, 0, 8] if hidden == HIDDEN else [0, 8, 0])


def test_records_of_another_epoch_are_left_out_whatever_their_sizes() -> None:
    records = [*pack(replace(wider(one_user()), epoch=6)), *pack(one_user()), *pack(replace(one_user(), epoch=6))]
    stored = read(records)
    assert (stored.indices.tolist(), stored.rows["epoch"].tolist(), stored.faults) == ([1], [7], {})


@pytest.mark.parametrize("version", [3, 255])
@pytest.mark.parametrize("more", [b"", b"what a newer worker knows"])
def test_what_is_known_of_a_record_of_a_later_version_is_read(version: int, more: bytes) -> None:
    # A newer worker's partitions go back to an older one when the newer one is taken back.
    old = pack(one_user())[0]
    new = bytes([version]) + resealed(old + more)[1:]
    stored = read([old, new, old])
    assert stored.faults == {}
    for name in set(stored.rows.dtype.names or ()) - {"version", "checksum", "hidden_size", "ids_size"}:
        np.testing.assert_array_equal(stored.rows[name][1], stored.rows[name][0])
    assert record_position(new) == record_position(old)
    assert faults([new[:-1]]).keys() == {0}


def wider(user: UserRecords) -> UserRecords:
    """The user with a larger hidden state and another window of ids."""
    return replace(user, hidden=np.ones((1, HIDDEN + 3), np.float16), event_ids=np.ones((1, IDS + 2), np.uint64))


def with_sections(users: UserRecords, sections: list[dict[int, bytes]]) -> UserRecords:
    data = [joined_sections(one) for one in sections]
    return replace(users, sections=(np.frombuffer(b"".join(data), np.uint8), np.cumsum([0, *map(len, data)])))


def resealed(record: bytes) -> bytes:
    return record[:1] + crc32(record[5:]).to_bytes(4, "little") + record[5:]


def read(records: list[bytes], *, epoch: int = 7, hidden: int = HIDDEN, ids: int = IDS) -> StoredUsers:
    return unpack(records, epoch=epoch, hidden=hidden, ids=ids)


def faults(records: list[bytes]) -> dict[int, str]:
    return read(records).faults
