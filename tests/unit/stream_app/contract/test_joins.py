"""Records of the joins topic come back as they were, and whatever else lies there is refused."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.joins import (
    ACTION_BYTES,
    ImportedPast,
    JoinedSequence,
    JoinRecord,
    JoinRequest,
    decode_join,
    encode_join,
    imported_past,
    past_of,
)
from tests.unit.builders.past import log_of
from tests.unit.builders.past import past_of as users_of

SOURCES = st.tuples(st.integers(0, 2**31), st.integers(0, 2**63 - 1))
RECORDS = st.builds(JoinRequest, st.text(), SOURCES, st.integers(0, 2**32 - 1)) | st.builds(
    JoinedSequence, SOURCES, st.text(), st.binary()
)


@given(st.text(min_size=1), RECORDS)
def test_records_come_back(user: str, record: JoinRecord) -> None:
    assert decode_join(user.encode(), encode_join(record)) == (user, record)


@given(st.text(min_size=1), RECORDS)
def test_fields_of_a_later_version_are_passed_over(user: str, record: JoinRecord) -> None:
    said = msgspec.msgpack.decode(encode_join(record)) | {"later": [1]}
    assert decode_join(user.encode(), msgspec.msgpack.encode(said)) == (user, record)


@given(st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=30))
def test_anything_else_is_refused(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"no key|cannot be read|utf-8"):
        decode_join(key, value)


KINDS = ("view", "search", "purchase")
USERS = users_of(
    *log_of([(f"u{n % 4}", KINDS[n % 3], f"{n}", f"s{n % 5}", f"{n}", 60_000, 2) for n in range(40)], 10**12), length=6
)
RECORD = imported_past(USERS, 2**64 - 1, 40)


def test_users_come_back() -> None:
    _, said = decode_join(b"u", encode_join(RECORD))
    assert said == RECORD
    assert isinstance(said, ImportedPast)
    back = past_of(said)
    assert back.users == USERS.users
    for name in PAST_COLUMNS:
        column, wanted = getattr(back, name), getattr(USERS, name)
        assert column.flags.writeable
        assert np.array_equal(column, wanted)
    assert np.array_equal(back.queries.keys, USERS.queries.keys)
    assert np.array_equal(back.queries.words, USERS.queries.words)


PAST_COLUMNS = (
    "counts", "last_times", "sessions", "event_ids", "starts", "item_keys", "contexts", "times", "action_sessions",
    "numbers",
)  # fmt: skip


def test_an_action_takes_what_is_said() -> None:
    actions = len(USERS.item_keys)
    assert sum(len(RECORD.columns[name]) for name in PAST_COLUMNS[5:]) == ACTION_BYTES * actions


@pytest.mark.parametrize(
    "changed",
    [
        {"users": ["u0"] * len(USERS.users)},
        {"users": USERS.users[1:]},
        {"users": [*USERS.users, "more"]},
        {"sizes": RECORD.sizes[:-2]},
        {"sizes": b"\xff\xff" * len(USERS.users)},
        {"sizes": RECORD.sizes[:-1]},
        {"event_ids": b""},
        {"columns": RECORD.columns | {"times": b"123"}},
        {"columns": {}},
        {"query_words": b"1"},
        {"query_keys": RECORD.query_keys[:-3]},
    ],
)
def test_columns_that_do_not_fit_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"column|users|buffer"):
        past_of(msgspec.structs.replace(RECORD, **changed))
