"""Checksums of rows: zlib is the oracle."""

from __future__ import annotations

import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.kernels.crc32 import checksums


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(0, 9))
def test_checksums_are_those_of_zlib(rows: list[bytes], start: int) -> None:
    start = min(start, *map(len, rows), 9) if rows else 0
    width = max(map(len, rows), default=0)
    data = np.array([list(row.ljust(width, b"\x55")) for row in rows], np.uint8).reshape(len(rows), width)
    found = checksums(data, start, np.array([len(row) for row in rows], np.int64))
    assert found.tolist() == [zlib.crc32(row[start:]) for row in rows]
