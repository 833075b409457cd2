"""Records of the joins topic come back as they were, and whatever else lies there is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.contract.joins import JoinedSequence, JoinRecord, JoinRequest, decode_join, encode_join

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
