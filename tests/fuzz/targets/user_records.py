"""User records: any bytes are a user or a named fault, and a user that is packed again is the same.

An input: a byte of options, the sizes of hidden state and event ids of who reads, and the record, whose checksum may be
put right.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import pytest
import torch

from model.data.events import SEARCH
from model.errors import RecordCorrupt
from model.state.sections import SEARCHES, joined_sections, split_sections
from model.state.user_record import StoredUsers, UserRecords, pack, record_position, unpack
from model.state.user_states import UserStates

_REPAIR: Final = 1  # bit of the options
_CHECKED_FROM: Final = 5
_EPOCH: Final = 7


def check(data: bytes) -> None:
    """Unpacks a record between two others."""
    options, hidden, ids = data[:3].ljust(3, b"\0")
    record = data[3:]
    if options & _REPAIR and len(record) > _CHECKED_FROM:
        checksum = zlib.crc32(record[_CHECKED_FROM:]).to_bytes(4, "little")
        record = record[:1] + checksum + record[_CHECKED_FROM:]
    sound = _packed()
    stored = unpack([sound, record, sound], epoch=_EPOCH, hidden=hidden, ids=ids)
    if stored.faults:
        with pytest.raises(RecordCorrupt) as corrupt:
            record_position(record)
        assert stored.faults == {1: str(corrupt.value)}
        assert stored.indices.tolist() == [0, 2]
        return
    epoch, offset = record_position(record)
    assert stored.indices.tolist() == ([0, 1, 2] if epoch == _EPOCH else [0, 2])
    assert stored.rows[0] == stored.rows[-1]
    if epoch == _EPOCH:
        assert stored.rows["offset"][1] == offset
        _check_restored(record)
    _check_again(stored, hidden, ids)


def _check_restored(record: bytes) -> None:
    """Takes a user into memory and packs them, twice: what was understood stays, and sections that are not known."""
    first = _through_memory(record)
    assert _through_memory(first) == first
    sections = [split_sections(unpack([one], epoch=_EPOCH, hidden=0, ids=0).sections[0]) for one in (record, first)]
    for of_record in sections:
        of_record.pop(SEARCHES, None)
    assert sections[0] == sections[1]


def _through_memory(record: bytes) -> bytes:
    states = UserStates(
        hidden=3, length=4, epoch=_EPOCH, device=torch.device("cpu"), slots=1, stored=lambda *_: {"u": record}
    )
    return pack(states.snapshot(states.slots_of([0], ["u"])))[0]


def _check_again(stored: StoredUsers, hidden: int, ids: int) -> None:
    """Packs users and unpacks them: nothing changes."""
    rows = stored.rows
    sizes = rows["actions_size"].astype(np.int64)
    packed = pack(
        UserRecords(
            epoch=_EPOCH,
            offsets=rows["offset"],
            counts=rows["count"],
            last_times=rows["last_time"],
            sessions=rows["session"],
            weights_id=rows["weights"],
            hidden=rows["hidden"],
            event_ids=rows["event_ids"],
            item_keys=np.ascontiguousarray(rows["actions"]["object"]),
            contexts=np.ascontiguousarray(rows["actions"]["context"]),
            sizes=sizes,
            sections=(np.frombuffer(b"".join(stored.sections), np.uint8), np.cumsum([0, *map(len, stored.sections)])),
        )
    )
    again = unpack(packed, epoch=_EPOCH, hidden=hidden, ids=ids)
    assert not again.faults
    assert again.sections == stored.sections
    assert [joined_sections(split_sections(sections)) for sections in stored.sections] == stored.sections
    for name in ("offset", "count", "last_time", "session", "weights", "actions_size", "event_ids", "hidden"):
        assert again.rows[name].tobytes() == rows[name].tobytes(), name
    for before, after, size in zip(rows["actions"], again.rows["actions"], sizes, strict=True):
        assert before[:size].tobytes() == after[:size].tobytes()


def _packed(hidden: int = 3, ids: int = 2, epoch: int = _EPOCH, size: int = 2, context: int = 7) -> bytes:
    length = max(size, 1)
    (record,) = pack(
        UserRecords(
            epoch=epoch,
            offsets=np.array([41]),
            counts=np.array([9]),
            last_times=np.array([-3]),
            sessions=np.array([2**64 - 1], np.uint64),
            weights_id=np.array([8], np.uint64),
            hidden=np.full((1, hidden), 0.5, np.float16),
            event_ids=np.full((1, ids), 5, np.uint64),
            item_keys=np.full((1, length), 6, np.uint64),
            contexts=np.full((1, length), context, np.uint32),
            sizes=np.array([size]),
        )
    )
    return record


def seeds() -> list[bytes]:
    """Returns records of the usual sizes and others, of another epoch and version, cut and lengthened."""
    record = _packed()
    records = [record, _packed(5, 1), _packed(0, 0, size=0), _packed(epoch=8), _packed(size=40)]
    records += [b"\x01" + record[1:], b"\x03" + record[1:] + b"more", record[:-1], record + b"x"]
    records += [record + joined_sections(sections) for sections in ({1: b""}, {2: b"abc", 7: b"d"})]
    searching, words = _packed(context=SEARCH), (6).to_bytes(8, "little") + b"\x02\x05\x00\x09\x00"
    records += [b"\x01" + searching[1:], searching + joined_sections({SEARCHES: words, 9: b"e"})]
    return [b"", *(bytes([options, 3, 2]) + one for options in (0, _REPAIR) for one in records)]


TOKENS: Final[Sequence[bytes]] = [b"\xff\xff", b"\x00\x80", b"\x00\x7e", b"\xff" * 8, b"\x00\x01"]
